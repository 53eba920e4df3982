"""Several processes under torchrun share every step, and the model is that of one process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import actpipe
from actpipe.errors import Misuse
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.processes import Processes
from actpipe.pretraining.stage import train_lm
from actpipe.training.ranks import Ranks
from tests.lm_runs import assert_same_bits, small, weights_of

TRAIN = """
import sys
from pathlib import Path, PosixPath
import torch; torch.set_num_threads(1)
from actpipe.pretraining import training
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.stage import train_lm
training.CHECKPOINT_EVERY_S = 0.05
loss = train_lm(eval(sys.argv[1])).loss
sys.stdout.write(f"loss {loss}\\n")  # at once, so that what two processes say does not mix
"""


def started(config: TrainLMConfig, processes: int, script: Path) -> subprocess.Popen[str]:
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


@pytest.fixture
def config(text_file: Path, tmp_path: Path) -> TrainLMConfig:
    return small(text_file, tmp_path / "lm", micro_batch=3)


def test_two_processes_make_the_model_of_one(config: TrainLMConfig, tmp_path: Path) -> None:
    """To rounding: the same sequences make each step, and who adds up what differs."""
    process = started(config, 2, tmp_path / "script.py")
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    one = train_lm(replace(config, out=tmp_path / "one"))
    assert [float(line.split()[1]) for line in stdout.splitlines()] == pytest.approx([one.loss] * 2, rel=1e-4)
    first, second = weights_of(config.out), weights_of(tmp_path / "one")
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-3, msg=name)
    lines = [
        [json.loads(line) for line in (run / "training" / "metrics.jsonl").read_text().splitlines()]
        for run in (config.out, tmp_path / "one")
    ]
    for a, b in zip(*lines, strict=True):
        assert (a["step"], a["tokens"], a["lr"]) == (b["step"], b["tokens"], b["lr"])
        assert a["train"]["loss"] == pytest.approx(b["train"]["loss"], rel=1e-3)  # of the whole batch
        assert a["gradient"] == pytest.approx(b["gradient"], rel=1e-2)


@pytest.mark.slow
def test_processes_that_are_told_to_end_save_and_continue(config: TrainLMConfig, tmp_path: Path) -> None:
    config = replace(config, tokens=1500 * 128)
    process = started(config, 2, tmp_path / "script.py")
    deadline = time.monotonic() + 120
    while not (config.out / "training" / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert (config.out / "training" / "checkpoint.safetensors").exists()
    for asked in (config, replace(config, out=tmp_path / "whole")):
        process = started(asked, 2, tmp_path / "script.py")
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
    assert_same_bits(config.out, tmp_path / "whole")


def test_sequences_are_shared_evenly_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "wait_for_all", lambda self: None)
    processes = [Processes(Ranks(rank, 4), torch.device("cpu")) for rank in range(4)]
    assert [each.share(32, 8) for each in processes] == [(32, 2), (34, 2), (36, 2), (38, 2)]
    with pytest.raises(Misuse, match="--batch-size 6 is no multiple of the 4 processes"):
        processes[0].share(0, 6)
