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
import torch
from safetensors.torch import load_file, save_file

import actpipe
import sae
from actpipe.errors import Diverged, Mismatch, Misuse
from actpipe.training import stage, training
from actpipe.training.config import TrainConfig
from actpipe.training.stage import train
from sae.adam import StackedAdam

from .training_runs import HOOK, MLP, assert_same_bits, harvested, metrics_of


@pytest.fixture(scope="module")
def store(saved_models: dict[str, Path], text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harvested(saved_models["llama"], text_file, tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.fixture
def config(store: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        store=store, l1=(0.5, 2.0), seeds=2, tokens=4096, batch_size=128, device="cpu", evaluate_loss=False,
        out=tmp_path / "sae",
    )  # fmt: skip


def stopped_before_its_end(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leaves a run that is trained and not evaluated; returns its only checkpoint."""
    with monkeypatch.context() as patched:
        patched.setattr(stage, "evaluated", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(config)
    (checkpoint,) = (config.out / "checkpoint").iterdir()
    return checkpoint


@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("codes_at_once", [0, 2**19])
def test_a_signal_inside_a_step_waits_for_its_end_and_the_run_ends_with_the_same_bits(
    config: TrainConfig, tmp_path: Path, monkeypatch: Any, codes_at_once: int, signalled: int
) -> None:
    """A real signal while half of the members have moved, with members stepped one by one and all at once."""
    monkeypatch.setattr("sae.grouping.CODES_AT_ONCE_ON_CPU", codes_at_once)
    config = replace(config, architecture="relu,topk", expansion=(1, 2))
    train(replace(config, out=tmp_path / "whole"))
    move, sent = StackedAdam._step_one, []

    def interrupted(self: StackedAdam, *state: Any, steps: torch.Tensor, **rest: Any) -> None:
        # The second member of the 18th step: the first has moved already.
        if steps.data_ptr() == self.steps[1].data_ptr() and int(self.steps[1]) == 17 and not sent:
            sent.append(True)
            signal.raise_signal(signalled)
        move(self, *state, steps=steps, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(StackedAdam, "_step_one", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert len(list((config.out / "checkpoint").iterdir())) == 2
    assert not (config.out / "results.json").exists()
    train(config)
    assert_same_bits(config.out, tmp_path / "whole")
    assert metrics_of(config.out) == metrics_of(tmp_path / "whole")


def test_a_step_that_fails_is_not_saved(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    step = sae.Ensemble.step

    def failing(self: sae.Ensemble, x: torch.Tensor, target: Any = None) -> sae.StepReport:
        if self.steps == 5:
            raise MemoryError
        return step(self, x, target)

    monkeypatch.setattr(sae.Ensemble, "step", failing)
    with pytest.raises(MemoryError):
        train(config)
    assert not (config.out / "checkpoint").exists()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def another_tool_s(path: Path) -> None:
    save_file({"W_dec": torch.zeros(2, 2)}, path)


def not_even_tensors(path: Path) -> None:
    path.write_text("not a tensor at all")


def a_pickle(path: Path) -> None:
    """That would leave a trace if anybody loaded it."""
    torch.save({"params": Trace(str(path.parent / "unpickled"))}, path)


class Trace:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


@pytest.mark.parametrize("spoil", [truncated, another_tool_s, not_even_tensors, a_pickle])
def test_a_checkpoint_that_is_none_is_refused_and_left_alone(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    checkpoint = stopped_before_its_end(config, monkeypatch)
    spoil(checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(Misuse, match=r"The checkpoint .* cannot be read: .* --overwrite"):
        train(config)
    assert checkpoint.read_bytes() == before
    assert not (checkpoint.parent / "unpickled").exists()
    checkpoint.unlink()
    train(config)


@pytest.mark.parametrize(("key", "what"), [("store", "of another store"), ("members", "of other dictionaries")])
def test_a_checkpoint_of_another_run_is_refused(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, key: str, what: str
) -> None:
    checkpoint = stopped_before_its_end(config, monkeypatch)
    ensemble, extra = sae.load_checkpoint(checkpoint)
    sae.save_checkpoint(checkpoint, ensemble, extra={**extra, key: "something else"})
    with pytest.raises(Mismatch, match=what):
        train(config)


def test_a_run_whose_members_all_diverge_fails_every_time_and_at_once(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, step = [], sae.Ensemble.step
    monkeypatch.setattr(sae.Ensemble, "step", lambda *given: steps.append(1) or step(*given))  # type: ignore[func-returns-value]
    for _ in range(2):
        with pytest.raises(Diverged, match="smaller --lr"):
            train(replace(config, lr=(1e30,), l1=(1.0,)))
    assert len(steps) < 32
    assert not (config.out / "results.json").exists()


class Heard:
    """A progress that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def bar(self, *args: Any, **options: Any) -> Any:
        from actpipe.progress import silent

        return silent.bar(*args, **options)


def test_a_member_that_diverges_is_named_and_frozen_and_the_others_go_on(config: TrainConfig, tmp_path: Path) -> None:
    heard = Heard()
    members = train(replace(config, l1=(1.0,), seeds=1, lr=(2e-3, 1e30)), heard).members
    assert [member["diverged"] for member in members] == [False, True]
    assert [line for line in heard.lines if "frozen" in line] == [
        f"{HOOK}-relu-x2-l1_1-lr_1e+30-s0 met a number that is not finite and is frozen; the others go on."
    ]
    train(replace(config, l1=(1.0,), seeds=1, out=tmp_path / "alone"))
    for (name, one), other in zip(
        sorted(load_file(config.out / members[0]["path"] / "dictionary.safetensors").items()),
        (value for _, value in sorted(tensors_alone(tmp_path / "alone").items())),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)


def test_members_that_diverge_at_the_first_step_are_named(config: TrainConfig) -> None:
    heard = Heard()
    with pytest.raises(Diverged, match="smaller penalties"):
        train(replace(config, l1=(1e300,), lr=(2e-3,)), heard)
    assert [line.split()[0] for line in heard.lines] == [f"{HOOK}-relu-x2-l1_1e+300-s{seed}" for seed in (0, 1)]


@pytest.mark.parametrize("others", [{"hook": ("blocks.*",)}, {"architecture": "relu,pca"}])
def test_what_diverges_on_one_hook_stops_neither_other_hooks_nor_baselines(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, others: dict[str, Any]
) -> None:
    step = sae.Ensemble.step

    def broken(ensemble: sae.Ensemble, x: torch.Tensor, target: Any = None) -> sae.StepReport:
        return step(ensemble, x if len(x.T) != 32 else x * 1e30, target)

    monkeypatch.setattr(sae.Ensemble, "step", broken)
    members = train(replace(config, l1=(1.0,), seeds=1, **others)).members
    assert [member["diverged"] for member in members] == [True, False]
    assert members[1]["fvu"] < 1


def tensors_alone(run: Path) -> dict[str, torch.Tensor]:
    (folder,) = (run / "members").iterdir()
    return load_file(folder / "dictionary.safetensors")


def test_litter_of_a_killed_run_does_not_stop_the_next(config: TrainConfig) -> None:
    config.out.mkdir()
    (config.out / "run.json.123-abcd.partial").write_text("{")
    train(config)
    assert not list(config.out.rglob("*.partial"))


TRAIN_SLOWLY = """
import sys, time
from pathlib import Path, PosixPath
import torch; torch.set_num_threads(1)
import sae
from actpipe.training import stage, training
from actpipe.training.config import TrainConfig
training.CHECKPOINT_EVERY_S = 0.02
training.CHECKPOINT_SHARE = 1.0
step = sae.Ensemble.step
def slowly(self, x, target=None):
    time.sleep(0.01)
    return step(self, x, target)
sae.Ensemble.step = slowly
stage.train(eval(sys.argv[1]))
"""

KINDS: dict[str, dict[str, Any]] = {
    "two groups of two widths": {"architecture": "relu,jumprelu", "expansion": (1.0, 2.0), "l0": (4.0,)},
    "sparse coder": {"architecture": "relu,topk,matryoshka", "coder": "sparse", "l1": None, "k": (3.0, 6.0)},
    "resampling, clipping, bfloat16": {
        "architecture": "relu,gated",
        "set": ("clip=0.5",),
        "resample_every": 512,
        "precision": "bfloat16",
    },
    "transcoder and baselines": {
        "architecture": "relu,transcoder,random",
        "hook": (HOOK,),
        "target_hook": (MLP,),
    },
    "crosscoder": {"architecture": "crosscoder", "hook": (HOOK, MLP)},
}


@pytest.mark.parametrize("options", [*KINDS.values()], ids=KINDS)
def test_a_killed_run_ends_with_the_same_bits(config: TrainConfig, tmp_path: Path, options: dict[str, Any]) -> None:
    config = replace(config, **{"seeds": 1, **options})
    train(replace(config, out=tmp_path / "whole"))
    environment = os.environ | {"PYTHONPATH": str(Path(actpipe.__file__).parent.parent)}
    draw, kills = random.Random(0), 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", TRAIN_SLOWLY, repr(config)], env=environment)
        deadline = time.monotonic() + 60
        while not (config.out / "checkpoint").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.4))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills >= 2
    train(config)
    assert_same_bits(config.out, tmp_path / "whole")
    assert metrics_of(config.out) == metrics_of(tmp_path / "whole")


def test_checkpoints_that_take_long_are_written_less_often(config: TrainConfig, monkeypatch: Any) -> None:
    saved: list[float] = []
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(training, "save", lambda *_, **__: (saved.append(1), time.sleep(0.05)))
    train(config)
    assert 1 <= len(saved) < 8  # of 32 steps; each save takes more than all of them
