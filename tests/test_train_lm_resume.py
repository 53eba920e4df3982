"""A training that is stopped anywhere, politely or not, ends with the bits of one that never was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import actpipe
from actpipe.errors import Mismatch, Misuse
from actpipe.pretraining import training
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.stage import Run, train_lm
from actpipe.pretraining.stepper import Stepper, StepReport
from tests.lm_runs import assert_same_bits, small

CHECKPOINT = Path("training") / "checkpoint.safetensors"


@pytest.fixture
def config(text_file: Path, tmp_path: Path) -> TrainLMConfig:
    return small(text_file, tmp_path / "lm", validate_every=7)


def signalled_at(step: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real signal inside a step, once."""
    whole, sent = Stepper.step, []

    def interrupted(self: Stepper, at: int, *, stop: bool = False) -> StepReport:
        if at == step and not sent:
            sent.append(True)
            signal.raise_signal(number)
        return whole(self, at, stop=stop)

    monkeypatch.setattr(Stepper, "step", interrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [0, 17, 38, 39])
def test_a_signal_waits_for_the_end_of_a_step_and_the_bits_are_the_same(
    config: TrainLMConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int
) -> None:
    train_lm(replace(config, out=tmp_path / "whole"))
    with monkeypatch.context() as patched:
        signalled_at(step, number, patched)
        if step < 38:
            with pytest.raises(KeyboardInterrupt):
                train_lm(config)
            assert (config.out / CHECKPOINT).exists()
            assert not (config.out / "training" / "results.json").exists()
    train_lm(config)
    assert_same_bits(config.out, tmp_path / "whole")
    assert not (config.out / CHECKPOINT).exists()


def test_what_is_done_but_not_evaluated_is_not_trained_again(
    config: TrainLMConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_lm(replace(config, out=tmp_path / "whole"))
    with monkeypatch.context() as patched:
        patched.setattr(Run, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_lm(config)
    monkeypatch.setattr(Stepper, "step", None)  # not called
    train_lm(config)
    assert_same_bits(config.out, tmp_path / "whole")


TRAIN_SLOWLY = """
import sys, time
from pathlib import Path, PosixPath
import torch; torch.set_num_threads(1)
from actpipe.pretraining import training
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.stage import train_lm
from actpipe.pretraining.stepper import Stepper
training.CHECKPOINT_EVERY_S = 0.02
training.CHECKPOINT_SHARE = 1.0
step = Stepper.step
def slowly(self, *arguments, **options):
    time.sleep(0.01)
    return step(self, *arguments, **options)
Stepper.step = slowly
train_lm(eval(sys.argv[1]))
"""


def started(config: TrainLMConfig) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(actpipe.__file__).parent.parent)}
    return subprocess.Popen([sys.executable, "-c", TRAIN_SLOWLY, repr(config)], env=environment)


def kill(config: TrainLMConfig, process: subprocess.Popen[bytes], after: float) -> bool:
    """kill -9 so many seconds behind the first checkpoint; whether it was still running."""
    deadline = time.monotonic() + 60
    while not (config.out / CHECKPOINT).exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    time.sleep(after)
    was_running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return was_running


def test_a_killed_training_ends_with_the_same_bits(config: TrainLMConfig, tmp_path: Path) -> None:
    config = replace(config, tokens=120 * 128)
    train_lm(replace(config, out=tmp_path / "whole"))
    assert kill(config, started(config), after=0.2)
    train_lm(config)
    assert_same_bits(config.out, tmp_path / "whole")
    assert not list(config.out.rglob("*.partial"))


ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt, gelu, parts of a batch": {"set": ("d_model=16", "n_heads=2", "activation=gelu"), "micro_batch": 3},
    "bfloat16": {"dtype": "bfloat16"},
    "crate": {"architecture": "crate", "set": ("d_model=16", "n_layers=2", "n_heads=2")},
    "self-ablating": {"architecture": "self-ablating", "set": ("d_model=16", "n_layers=2", "n_heads=2")},
    "topk": {"architecture": "topk", "set": ("d_model=16", "n_layers=2", "n_heads=2")},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_killed_again_and_again_it_ends_with_the_same_bits(
    config: TrainLMConfig, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = replace(config, tokens=200 * 128, **options)
    train_lm(replace(config, out=tmp_path / "whole"))
    draw = random.Random(0)
    kills = sum(kill(config, started(config), after=draw.uniform(0, 0.6)) for _ in range(5))
    assert kills >= 2
    train_lm(config)
    assert_same_bits(config.out, tmp_path / "whole")


def stopped(config: TrainLMConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patched:
        signalled_at(12, signal.SIGINT, patched)
        with pytest.raises(KeyboardInterrupt):
            train_lm(config)
    return config.out / CHECKPOINT


def test_a_checkpoint_that_is_none_is_refused_and_left_alone(
    config: TrainLMConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = stopped(config, monkeypatch)
    whole = checkpoint.read_bytes()
    for spoiled in (whole[:1000], b"no tensors at all", whole.replace(b'"F32"', b'"I32"', 1)):
        checkpoint.write_bytes(spoiled)
        with pytest.raises(Misuse, match=r"The checkpoint .* cannot be continued: .* --overwrite"):
            train_lm(config)
        assert checkpoint.read_bytes() == spoiled


def test_what_began_in_one_arithmetic_continues_in_it(
    config: TrainLMConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that computes with bfloat16 and then on one that does not."""
    train_lm(replace(config, dtype="bfloat16", out=tmp_path / "whole"))
    config = replace(config, dtype="auto")
    monkeypatch.setattr("actpipe.pretraining.arithmetic.computes_bfloat16", lambda device: True)
    stopped(config, monkeypatch)
    monkeypatch.setattr("actpipe.pretraining.arithmetic.computes_bfloat16", lambda device: False)
    train_lm(config)
    assert_same_bits(config.out, tmp_path / "whole")
    with pytest.raises(Mismatch, match="dtype is 'bfloat16' there and 'float32' here"):
        train_lm(replace(config, dtype="float32"))


def test_a_checkpoint_of_another_training_is_refused(
    config: TrainLMConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = stopped(replace(config, seed=1, out=tmp_path / "other"), monkeypatch)
    checkpoint = stopped(config, monkeypatch)
    checkpoint.write_bytes(other.read_bytes())
    with pytest.raises(Misuse, match="it belongs to another training"):
        train_lm(config)


def test_a_checkpoint_comes_every_half_minute_unless_it_takes_long(
    config: TrainLMConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[float] = []
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(training, "save_checkpoint", lambda *_: (saved.append(1), time.sleep(0.05)))
    train_lm(config)
    assert 1 <= len(saved) < 10  # of 40 steps; each save takes longer than several
