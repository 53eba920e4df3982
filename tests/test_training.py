from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import actpipe
import sae
from actpipe.errors import Diverged, Mismatch, Missing, Misuse
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.stage import harvest
from actpipe.training import hook_training, stage
from actpipe.training.config import HELD_OUT_SHARE, TrainConfig
from actpipe.training.cross_entropy import model_of
from actpipe.training.l1_grid import derived_grid, parse_l1_sweep
from actpipe.training.stage import train
from sae.adam import StackedAdam

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def store(saved_models: dict[str, Path], text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "store.zarr"
    hooks = (HOOK, "blocks.1.mlp.hook_post")
    config = HarvestConfig(
        model=str(saved_models["llama"]), dataset=str(text_file), hook=hooks, tokens=6000, context=24, device="cpu",
        model_dtype="float32", dtype="float32", out=out,
    )  # fmt: skip
    harvest(config)
    return out


@pytest.fixture
def config(store: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        store=store, l1=(0.5, 2.0), seeds=2, tokens=4096, batch_size=128, device="cpu", out=tmp_path / "sae"
    )


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    files = sorted(run.glob("members/*/dictionary.safetensors"))
    return {f"{file.parent.name}/{key}": value for file in files for key, value in load_file(file).items()}


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = tensors_of(one), tensors_of(other)
    assert first.keys() == second.keys()
    assert len(first) > 0
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_run_folder_is_as_documented(config: TrainConfig, store: Path) -> None:
    result = train(config)
    run = Path(result.out)
    described = json.loads((run / "run.json").read_text())
    assert (described["format"], described["version"]) == ("actpipe-run", 1)
    assert described["store"]["fingerprint"] == actpipe.open_store(store).fingerprint
    assert (run / described["store"]["relative"]).resolve() == store.resolve()
    assert described["config"]["l1"] == {HOOK: [0.5, 2.0]}
    assert json.loads((run / "results.json").read_text())["members"] == result.members
    assert [(m["l1"], m["seed"]) for m in result.members] == [(0.5, 0), (0.5, 1), (2.0, 0), (2.0, 1)]
    assert not (run / "checkpoint").exists()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 32]
    assert all(len(line["members"]) == 4 for line in lines)
    for member in result.members:
        dictionary = sae.load(run / member["path"])
        assert (dictionary.d, dictionary.n) == (32, 64)
        assert dictionary.config["hook"] == HOOK
        assert member["rows"] == 4096


def test_held_out_numbers_are_those_of_the_saved_dictionary(config: TrainConfig, store: Path) -> None:
    """By brute force: all held-out rows at once, in float64."""
    result = train(config)
    opened = actpipe.open_store(store)
    held_out = torch.from_numpy(opened.held_out(HELD_OUT_SHARE)).flatten()
    x = opened.read(HOOK, 0, opened.rows)[held_out]
    for member in result.members:
        dictionary = sae.load(Path(result.out) / member["path"])
        codes = dictionary.encode(x)
        error = (x.double() - dictionary.decode(codes).double()).square().sum()
        spread = (x.double() - x.double().mean(0)).square().sum()
        assert member["held_out_rows"] == len(x)
        assert member["fvu"] == pytest.approx(float(error / spread), rel=1e-6)
        assert member["l0"] == pytest.approx(float((codes > 0).sum() / len(x)))
        assert member["dead"] == pytest.approx(float((codes == 0).all(0).float().mean()))


def test_a_stronger_penalty_is_sparser_and_loses_more(store: Path, tmp_path: Path) -> None:
    config = TrainConfig(store=store, l1=(0.1, 5.0), tokens=30_000, batch_size=256, device="cpu", out=tmp_path / "sae")
    weak, strong = train(config).members
    assert weak["l0"] > 1.5 * strong["l0"]
    assert weak["fvu"] < strong["fvu"] < 1


@pytest.mark.parametrize("codes_at_once", [0, 2**19])
def test_ctrl_c_inside_a_step_waits_for_its_end_and_the_run_ends_with_the_same_bits(
    config: TrainConfig, tmp_path: Path, monkeypatch: Any, codes_at_once: int
) -> None:
    """A real signal while half of the members have moved, with members stepped one by one and all at once."""
    monkeypatch.setattr("sae.ensemble.CODES_AT_ONCE_ON_CPU", codes_at_once)
    config = replace(config, expansion=(1, 2))
    train(replace(config, out=tmp_path / "whole"))
    move, sent = StackedAdam._step_one, []

    def interrupted(self: StackedAdam, params: Any, grads: Any, member: int, **rest: Any) -> None:
        if member == 1 and int(self.steps[0]) == 17 and not sent:
            sent.append(True)
            signal.raise_signal(signal.SIGINT)
        move(self, params, grads, member, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(StackedAdam, "_step_one", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert len(list((config.out / "checkpoint").iterdir())) == 2
    assert not (config.out / "results.json").exists()
    train(config)
    assert_same_bits(config.out, tmp_path / "whole")
    metrics = [(path / "metrics.jsonl").read_text() for path in (config.out, tmp_path / "whole")]
    assert metrics[0] == metrics[1]


def test_a_step_that_fails_is_not_saved(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    step = sae.Ensemble.step

    def failing(self: sae.Ensemble, x: torch.Tensor) -> sae.StepReport:
        if self.steps == 5:
            raise MemoryError
        return step(self, x)

    monkeypatch.setattr(sae.Ensemble, "step", failing)
    with pytest.raises(MemoryError):
        train(config)
    assert not (config.out / "checkpoint").exists()


def test_a_damaged_checkpoint_is_named_and_its_group_starts_anew(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(replace(config, out=tmp_path / "whole"))
    monkeypatch.setattr(hook_training, "CHECKPOINT_EVERY_S", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "evaluated", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(config)
    (checkpoint,) = (config.out / "checkpoint").iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    train(config)
    assert_same_bits(config.out, tmp_path / "whole")


def test_a_run_whose_members_all_diverge_fails_every_time(config: TrainConfig) -> None:
    for _ in range(2):
        with pytest.raises(Diverged, match="smaller --lr"):
            train(replace(config, lr=1e30, l1=(1.0,)))
    assert not (config.out / "results.json").exists()


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
from actpipe.training import hook_training, stage
from actpipe.training.config import TrainConfig
hook_training.CHECKPOINT_EVERY_S = 0.02
step = sae.Ensemble.step
def slowly(self, x):
    time.sleep(0.02)
    return step(self, x)
sae.Ensemble.step = slowly
stage.train(eval(sys.argv[1]))
"""


def test_a_killed_run_ends_with_the_same_bits(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, evaluate_loss=False, expansion=(1, 2))
    train(replace(config, out=tmp_path / "whole"))
    environment = os.environ | {"PYTHONPATH": str(Path(actpipe.__file__).parent.parent)}
    kills = 0
    for delay in (0.0, 0.1, 0.2, 0.3):
        process = subprocess.Popen([sys.executable, "-c", TRAIN_SLOWLY, repr(config)], env=environment)
        deadline = time.monotonic() + 60
        while not (config.out / "checkpoint").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        time.sleep(delay)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills >= 2
    train(config)
    assert_same_bits(config.out, tmp_path / "whole")
    metrics = [(path / "metrics.jsonl").read_text() for path in (config.out, tmp_path / "whole")]
    assert metrics[0] == metrics[1]


def test_running_again_trains_nothing(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(config)
    monkeypatch.setattr(sae.Ensemble, "step", lambda *_: pytest.fail("trained again"))
    assert train(config) == first


@pytest.mark.parametrize(
    ("change", "named"),
    [({"lr": 3e-3}, "lr is 0.002 there and 0.003 here"), ({"seeds": 1}, "seeds is 2"), ({"tokens": 9}, "rows is 4096")],
)
def test_two_runs_are_never_mixed(config: TrainConfig, change: dict[str, Any], named: str) -> None:
    train(config)
    with pytest.raises(Mismatch, match=named):
        train(replace(config, **change))


def test_overwrite_removes_nothing_but_a_run(config: TrainConfig, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(Misuse):
            train(replace(config, out=treasure, overwrite=overwrite))
    assert (treasure / "thesis.txt").read_text() == "mine"


def test_several_hooks_and_widths_are_groups_over_one_store(config: TrainConfig) -> None:
    result = train(replace(config, hook=("blocks.1.*",), expansion=(1, 2), seeds=1, l1=(1.0,)))
    assert [(m["hook"], m["width"]) for m in result.members] == [
        (HOOK, 32), (HOOK, 64), ("blocks.1.mlp.hook_post", 48), ("blocks.1.mlp.hook_post", 96),
    ]  # fmt: skip


def test_a_member_does_not_depend_on_the_others(config: TrainConfig, tmp_path: Path) -> None:
    """To rounding: one member is trained without vmap's batched products."""
    train(config)
    train(replace(config, l1=(2.0,), seeds=1, out=tmp_path / "alone"))
    together, alone = tensors_of(config.out), tensors_of(tmp_path / "alone")
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5)


def test_other_weights_are_refused_when_the_loss_is_measured(
    store: Path, saved_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = actpipe.open_store(store)
    monkeypatch.setitem(opened.config["model"], "fingerprint", "0" * 64)
    with pytest.raises(Mismatch, match="has other weights now"):
        model_of(opened, "cpu")


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"hook": ("blocks.7.hook_resid_post",)}, Missing, "it has blocks.1.hook_resid_post, blocks.1.mlp.hook_post"),
        ({"store": Path("nowhere.zarr")}, Missing, "run `actpipe harvest` first"),
        ({"architecture": "perceptron"}, Misuse, "there is relu"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    config: TrainConfig, change: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        train(replace(config, **change))
    assert not config.out.exists()


def test_grids_are_what_was_typed() -> None:
    assert parse_l1_sweep("auto") is None
    assert parse_l1_sweep("1,2.5,0") == (1.0, 2.5, 0.0)
    assert parse_l1_sweep("1e-4:1e-2:3") == (1e-4, 1e-3, 1e-2)
    assert parse_l1_sweep("3:3:1") == (3.0,)


@pytest.mark.parametrize(
    "text", ["1e-4:x:3", "1:2", "1:2:0", "1:2:1.5", "2:1:3", "0:1:3", "a", "", "1,1", "1,1.0000001", "nan"]
)
def test_a_malformed_grid_is_one_sentence(text: str) -> None:
    with pytest.raises(Misuse, match="--l1-sweep"):
        parse_l1_sweep(text)


def test_a_derived_grid_grows_with_the_root_of_the_width() -> None:
    assert derived_grid(576) == (1.0, 1.52, 2.3, 3.48, 5.28, 8.0)
    assert derived_grid(4 * 576)[0] == 2 * derived_grid(576)[0]
