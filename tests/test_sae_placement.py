"""Members on several processes train exactly as in one, and their parts join into the same ensemble."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

import sae
from tests.separate_runs import BATCH, D, correlated_rows

MEMBERS = [
    {"l1": 0.1, "width": 30},
    {"l1": 0.3, "seed": 1, "width": 10},
    {"l1": 1.0, "seed": 2, "width": 30, "clip": 0.5},
    {"l1": 3.0, "seed": 3, "width": 20, "lr": 3e-3},
    {"l1": 0.5, "seed": 4, "width": 10},
]


def create(members):
    rows = correlated_rows(500, dtype=torch.float64)
    schedule = sae.Schedule(steps=20, lr_warmup=5)
    how = {"d": D, "width": 30, "sample": rows, "schedule": schedule, "dead_after": 64, "dtype": torch.float64}
    return sae.Ensemble.create(sae.ReLU(), members, resampling=sae.Resampling(every=7, until=20), **how)


def batches(n=20):
    return correlated_rows(BATCH * n, dtype=torch.float64).split(BATCH)


def assert_same_state(one, other, *, atol=0.0):
    assert (one.members, one.size, one.schedule) == (other.members, other.size, other.schedule)
    assert (one.steps, one.rows, one.dead_after) == (other.steps, other.rows, other.dead_after)
    assert one.density == pytest.approx(other.density, abs=1e-12)
    for a, b in (
        (one.params, other.params),
        (one.adam.mean, other.adam.mean),
        (one.adam.square, other.adam.square),
        ({"idle": one.idle, "frozen": one.frozen}, {"idle": other.idle, "frozen": other.frozen}),
        ({"steps": one.adam.steps}, {"steps": other.adam.steps}),
    ):
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=0, atol=atol)


def test_the_costliest_go_first_to_whom_has_least():
    assert sae.placed([1, 5, 2, 4], 2) == [[0, 1], [2, 3]]  # 5 | 4, then 2 to the second, 1 to the first
    assert sae.placed([1.0] * 6, 4) == [[0, 4], [1, 5], [2], [3]]
    assert sae.placed([1.0], 3) == [[0], [], []]
    assert sae.placed([3, 1, 2], 1) == [[0, 1, 2]]
    with pytest.raises(ValueError, match="at least one process"):
        sae.placed([1.0], 0)


def test_parts_that_train_apart_join_into_what_trains_together():
    whole = create(MEMBERS)
    for x in batches():
        whole.step(x)
    where = sae.placed([m["width"] for m in MEMBERS], 2)
    parts = [create([MEMBERS[i] for i in members]) for members in where]
    for x in batches():
        for part in parts:
            part.step(x)
    assert_same_state(sae.joined(parts, where), whole, atol=1e-10)


def test_a_part_goes_on_as_it_would_have_in_the_whole():
    whole = create(MEMBERS)
    for x in batches()[:9]:
        whole.step(x)
    parts = [sae.part(whole, members) for members in ([1, 4], [3], [0, 2])]
    assert [one.width for one in parts] == [10, 20, 30]
    assert_same_state(sae.joined(parts, [[1, 4], [3], [0, 2]]), whole)
    for x in batches()[9:]:
        whole.step(x)
        for part in parts:
            part.step(x)
    assert_same_state(sae.joined(parts, [[1, 4], [3], [0, 2]]), whole, atol=1e-10)


def test_what_is_not_one_training_does_not_join():
    parts = [create(MEMBERS[:2]), create(MEMBERS[2:])]
    with pytest.raises(ValueError, match="each must come once"):
        sae.joined(parts, [[0, 1], [1, 2, 3]])
    parts[0].step(batches()[0])
    with pytest.raises(ValueError, match="differ in steps, rows"):
        sae.joined(parts, [[0, 1], [2, 3, 4]])
    with pytest.raises(ValueError, match="at least one member"):
        sae.part(parts[0], [])


SCRIPT = """
    import os, sys
    import torch, torch.distributed as dist
    import sae
    from tests.test_sae_placement import MEMBERS, batches, create

    folder = sys.argv[1]
    rank, n_ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo")
    where = sae.placed([m["width"] for m in MEMBERS], n_ranks)
    mine = create([MEMBERS[i] for i in where[rank]])
    for report in sae.fit(mine, batches(), steps=20):
        pass
    sae.save_checkpoint(f"{folder}/{rank}", mine)
    dist.barrier()
    if rank == 0:
        parts = [sae.load_checkpoint(f"{folder}/{i}")[0] for i in range(n_ranks)]
        sae.save_checkpoint(f"{folder}/whole", sae.joined(parts, where))
    dist.destroy_process_group()
"""


def test_two_processes_under_torchrun_give_what_one_gives(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    together, _ = sae.load_checkpoint(tmp_path / "whole")
    alone = create(MEMBERS)
    for x in batches():
        alone.step(x)
    assert_same_state(together, alone, atol=1e-10)
