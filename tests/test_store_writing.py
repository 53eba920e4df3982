import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from actpipe.errors import Damaged, Failure, Mismatch, Missing, Misuse
from actpipe.store import Store, create_store, verify
from tests.small_store import CONTEXT, HOOK, HOOKS, data_files, empty_store, filled_store, slab_of, texts, values

ROOT = Path(__file__).parents[1]


def test_new_store_has_its_texts_and_no_slab(tmp_path):
    store = empty_store(tmp_path / "store.zarr")
    assert (store.committed, store.pending, store.is_complete) == ([], [0, 1, 2, 3, 4, 5], False)
    assert np.array_equal(store.doc, texts()["doc"])
    assert store.mask.dtype == bool
    assert verify(store) == {"complete": False, "shards": 0, "damaged": []}


def test_slabs_appear_one_by_one_in_any_order(tmp_path):
    store = empty_store(tmp_path / "store.zarr")
    store.write_slab(5, slab_of(store, 5))
    store.write_slab(2, slab_of(store, 2))
    assert Store.open(store.path).committed == [2, 5]
    assert torch.equal(store.read(HOOK, 64, 96).float(), values(HOOK)[64:96])
    with pytest.raises(Missing, match="not all there yet"):
        store.read(HOOK, 60, 96)


def test_writing_a_slab_again_leaves_the_same_bytes(tmp_path):
    store = filled_store(tmp_path / "store.zarr")
    before = data_files(store.path)
    store.write_slab(3, slab_of(store, 3), worker=7)
    assert data_files(store.path) == before
    assert verify(store)["complete"]


def test_rows_of_another_data_type_are_rounded_to_the_stored_one(tmp_path):
    store = empty_store(tmp_path / "store.zarr")
    rows = {hook: torch.full((32, width), 1 + 2**-9) for hook, width in HOOKS.items()}  # bfloat16 keeps 8 bits
    store.write_slab(0, rows)
    assert store.read(HOOK, 0, 1).tolist() == [[1.0] * 6]


def test_strided_rows_are_stored_as_they_read(tmp_path):
    store = empty_store(tmp_path / "store.zarr")
    rows = {hook: part.T.contiguous().T for hook, part in slab_of(store, 0).items()}
    store.write_slab(0, rows)
    assert torch.equal(store.read(HOOK, 0, 32).float(), values(HOOK)[:32])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("row", [8, 13])  # 8 is masked out, 13 counts
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, value, row):
    store = empty_store(tmp_path / "store.zarr")
    rows = slab_of(store, 1)
    rows[HOOK][row, 4] = value
    sequence, position = 4 + row // CONTEXT, row % CONTEXT
    with pytest.raises(Misuse, match=rf"{HOOK}.*slab 1 \(sequence {sequence}, position {position}, component 4\)"):
        store.write_slab(1, rows)
    assert store.committed == []
    assert not list(store.path.rglob("*.partial"))


def test_float16_refuses_what_it_cannot_hold(tmp_path):
    store = empty_store(tmp_path / "store.zarr", dtype="float16", max_slab_bytes=2**20)
    rows = slab_of(store, 0)
    rows[HOOK][3, 0] = 65504.0  # the largest float16
    store.write_slab(0, rows)
    assert store.read(HOOK, 3, 4)[0, 0] == 65504
    rows[HOOK][3, 0] = 70000.0
    with pytest.raises(Misuse, match=r"70000 .* beyond 65504, the largest float16; .*--dtype bfloat16"):
        store.write_slab(0, rows)


def test_large_finite_values_are_stored_although_their_squares_overflow_float32(tmp_path):
    store = empty_store(tmp_path / "store.zarr", max_slab_bytes=2**20)
    rows = {hook: torch.full((168, width), 2.0**100) for hook, width in HOOKS.items()}
    rows[HOOK][1] = -(2.0**100)
    store.write_slab(0, rows)
    n = int(store.mask.sum())
    mean = 2.0**100 * (n - 2) / n
    statistics = store.statistics(HOOK)
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(statistics.variance, 2.0**200 - mean**2, rtol=1e-5)


def test_wrong_hooks_and_shapes_are_refused(tmp_path):
    store = empty_store(tmp_path / "store.zarr")
    rows = slab_of(store, 0)
    with pytest.raises(Misuse, match="needs the hooks"):
        store.write_slab(0, {HOOK: rows[HOOK]})
    with pytest.raises(Misuse, match=r"shape \(32, 6\), not \(31, 6\)"):
        store.write_slab(0, {**rows, HOOK: rows[HOOK][:31]})
    with pytest.raises(Misuse, match="no slab 6"):
        store.write_slab(6, rows)


def test_an_existing_path_is_refused(tmp_path):
    empty_store(tmp_path / "store.zarr")
    with pytest.raises(Misuse, match="exists already"):
        empty_store(tmp_path / "store.zarr")


KILLED = """
import os, sys
from pathlib import Path
from actpipe.store import local
from tests.small_store import empty_store
local.os.rename = lambda *paths: os._exit(9)
empty_store(Path(sys.argv[1]))
"""


def test_what_a_killed_creation_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "store.zarr"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, cwd=ROOT)
    assert killed.returncode == 9
    assert [each.name.endswith(".partial") for each in tmp_path.iterdir()] == [True]
    others = [
        f"store.zarr.{os.getppid()}-0123abcd.partial",
        "store.zarr.notes.partial",
        "other.zarr.1-0123abcd.partial",
    ]
    for name in others:  # of a process that runs, of nobody here, of another store
        (tmp_path / name).mkdir()
    empty_store(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(["store.zarr", *others])


def test_texts_of_unequal_shape_or_beyond_int32_leave_nothing_behind(tmp_path):
    given = texts()
    with pytest.raises(Misuse, match="one shape"):
        create_store(tmp_path / "s", **{**given, "doc": given["doc"][:3]}, hooks=HOOKS)
    with pytest.raises(Misuse, match="beyond int32"):
        create_store(tmp_path / "s", **{**given, "doc": given["doc"] + 2**31}, hooks=HOOKS)
    assert list(tmp_path.iterdir()) == []


def test_opening_what_is_no_store_says_so(tmp_path):
    with pytest.raises(Missing, match=r"no store at .*actpipe harvest"):
        Store.open(tmp_path / "nothing.zarr")
    (tmp_path / "zarr.json").write_text('{"attributes": {}}')
    with pytest.raises(Mismatch, match="not a store of actpipe"):
        Store.open(tmp_path)
    (tmp_path / "zarr.json").write_text('{"attributes": {"actpipe": {"format": "actpipe-store", "version": 3}}}')
    with pytest.raises(Mismatch, match="format 3 and this actpipe reads 1 and 2"):
        Store.open(tmp_path)
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(Damaged, match="not JSON"):
        Store.open(tmp_path)


def test_another_configuration_is_refused_by_what_differs(tmp_path):
    store = empty_store(tmp_path / "store.zarr")
    store.require_config({"model": "planted", "seed": 0})
    with pytest.raises(Mismatch, match="model is 'planted' there and 'other' here"):
        store.require_config({"model": "other", "seed": 0})


def test_fingerprint_knows_tokens_hooks_and_configuration_but_not_slab_sizes(tmp_path):
    one = empty_store(tmp_path / "one.zarr").fingerprint
    assert empty_store(tmp_path / "two.zarr", max_slab_bytes=2**20).fingerprint == one
    assert empty_store(tmp_path / "three.zarr", dtype="float32").fingerprint != one
    given = texts()
    given["tokens"][3, 3] += 1
    other = create_store(tmp_path / "four.zarr", **given, hooks=HOOKS, config={"model": "planted", "seed": 0})
    assert other.fingerprint != one


def test_recovering_removes_unfinished_files_and_slabs_that_lost_some(tmp_path):
    store = filled_store(tmp_path / "store.zarr")
    litter = store.path / "acts" / HOOK / "c" / "1" / "0.123-ab.partial"
    litter.write_bytes(b"half")
    (store.path / "acts" / HOOK / "c" / "4" / "0").unlink()
    assert store.recover() == [4]
    assert not litter.exists()
    store.write_slab(4, slab_of(store, 4))
    assert verify(store)["complete"]


def test_killed_at_any_file_operation_it_continues_to_the_same_bytes(tmp_path):
    filled_store(tmp_path / "whole.zarr")
    command = [sys.executable, str(ROOT / "tests" / "crash_store.py"), str(tmp_path / "killed.zarr")]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 60  # kills
    assert data_files(tmp_path / "killed.zarr") == data_files(tmp_path / "whole.zarr")
    assert verify(tmp_path / "killed.zarr")["complete"]


def test_a_store_that_was_replaced_is_not_written_into_by_those_who_had_the_old_one(tmp_path):
    old = empty_store(tmp_path / "store.zarr")
    old.path.rename(tmp_path / "elsewhere.zarr")
    new = empty_store(tmp_path / "store.zarr")
    before = data_files(new.path)
    with pytest.raises(Failure, match="was removed or replaced while it was written"):
        old.write_slab(0, slab_of(old, 0))
    assert new.committed == []
    assert data_files(new.path) == before
