"""Several processes under torchrun: each trains its members, and the run is that of one process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

import actpipe
from actpipe.training.config import TrainConfig
from actpipe.training.plan import plan
from actpipe.training.ranks import Ranks
from actpipe.training.stage import train

from .training_runs import HOOK, MLP, assert_same_bits, harvested, metrics_of, tensors_of

TRAIN = """
import sys
from pathlib import Path, PosixPath
import torch; torch.set_num_threads(1)
from actpipe.training import stage, training
from actpipe.training.config import TrainConfig
training.CHECKPOINT_EVERY_S = 0.05
members = stage.train(eval(sys.argv[1])).members
sys.stdout.write(f"members {len(members)}\\n")  # one write, which another process cannot split
"""


@pytest.fixture(scope="module")
def store(saved_models: dict[str, Path], text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harvested(saved_models["llama"], text_file, tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.fixture
def config(store: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        store=store, architecture="relu,topk,pca", hook=(HOOK, MLP), l1=(0.5, 2.0), k=(3.0,), expansion=(1.0, 2.0),
        tokens=2560, batch_size=128, device="cpu", evaluate_loss=False, out=tmp_path / "sae",
    )  # fmt: skip


def started(config: TrainConfig, processes: int, script: Path) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script.write_text(TRAIN)
    root = str(Path(actpipe.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", str(port),
         str(script), repr(config)],
        env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def assert_same_run(one: Path, other: Path) -> None:
    """To rounding: who is stepped together decides which matrix products are batched."""
    first, second = tensors_of(one), tensors_of(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-4, msg=name)
    results = [json.loads((run / "results.json").read_text())["members"] for run in (one, other)]
    for a, b in zip(*results, strict=True):
        assert (a["path"], a["rows"], a["hyper"], a["seed"]) == (b["path"], b["rows"], b["hyper"], b["seed"])
        assert a["fvu"] == pytest.approx(b["fvu"], rel=1e-3, abs=1e-6)
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)]
    for a, b in zip(*lines, strict=True):
        assert (a["group"], a["step"]) == (b["group"], b["step"])
        assert [member["name"] for member in a["members"]] == [member["name"] for member in b["members"]]


def test_two_processes_make_the_run_of_one(config: TrainConfig, tmp_path: Path) -> None:
    whole = train(replace(config, out=tmp_path / "whole"))
    process = started(config, 2, tmp_path / "script.py")
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    assert stdout.splitlines() == [f"members {len(whole.members)}"] * 2  # each process has the whole result
    assert_same_run(config.out, tmp_path / "whole")
    left = {path.name for path in config.out.iterdir()}
    assert left == {"run.json", "results.json", "metrics.jsonl", "matching.json", "members"}
    again = train(config)  # one process finds it complete
    assert len(again.members) == len(whole.members)


def test_processes_that_are_told_to_end_save_and_continue(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, hook=(HOOK,), architecture="relu", k=None, tokens=100_000)
    process = started(config, 2, tmp_path / "script.py")
    deadline = time.monotonic() + 120
    while len(list(config.out.glob("checkpoint/*.safetensors"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    names = {path.name for path in (config.out / "checkpoint").iterdir()}
    assert names == {f"{HOOK}-relu.{rank}of2.safetensors" for rank in (0, 1)}
    for asked in (config, replace(config, out=tmp_path / "whole")):
        process = started(asked, 2, tmp_path / "script.py")
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
    assert_same_bits(config.out, tmp_path / "whole")
    assert metrics_of(config.out) == metrics_of(tmp_path / "whole")


def test_members_are_shared_out_by_their_cost_and_each_once() -> None:
    config = TrainConfig(architecture="relu,topk", l1=(1.0, 2.0, 3.0), k=(3.0, 4.0), expansion=(1.0, 4.0))
    groups = plan(config, {"hook": 64}, raw_unit=lambda reads: 1.0)
    everything = sorted(member.name for group in groups for member in group.members)
    for count in (1, 2, 3, 16):
        shares = [Ranks(rank, count).mine(groups) for rank in range(count)]
        names = [[member.name for group in share for member in group.members] for share in shares]
        assert sorted(chain(*names)) == everything
        costs = [sum(m.settings["width"] for group in share for m in group.members) for share in shares]
        if count < 4:
            assert max(costs) - min(costs) <= 256  # one wide member
    assert Ranks(11, 16).mine(groups) == ()


@pytest.mark.parametrize(("environment", "part"), [({}, ""), ({"RANK": "1", "WORLD_SIZE": "3"}, "1of3")])
def test_torchrun_says_which_process_this_is(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, Any], part: str
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Ranks.of_this_process().part == part
