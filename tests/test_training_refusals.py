"""What cannot be trained is one sentence and exit code 2, and nothing is written or removed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actpipe.errors import ActpipeError, Mismatch, Missing, Misuse
from actpipe.progress import silent
from actpipe.store import Store, create_store, slab_files
from actpipe.training.config import TrainConfig
from actpipe.training.stage import train

HOOK = "blocks.0.hook_resid_post"
CONTEXT, SEQUENCES, WIDTH = 16, 64, 12


def planted(path: Path, x: torch.Tensor, seed: int = 0) -> Store:
    """A store of these rows [SEQUENCES · CONTEXT, WIDTH], each document a sequence."""
    tokens = np.random.default_rng(seed).integers(0, 50, (SEQUENCES, CONTEXT))
    doc = np.repeat(np.arange(SEQUENCES), CONTEXT).reshape(SEQUENCES, CONTEXT)
    mask = np.ones_like(doc, dtype=bool)
    store = create_store(path, tokens=tokens, doc=doc, mask=mask, hooks={HOOK: x.shape[1]}, dtype="float32")
    for slab in store.pending:
        start, stop = (sequence * CONTEXT for sequence in store.slab_range(slab))
        store.write_slab(slab, {HOOK: x[start:stop]})
    return store


def noise(width: int = WIDTH) -> torch.Tensor:
    return torch.randn(SEQUENCES * CONTEXT, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    planted(tmp_path / "store.zarr", noise())
    return TrainConfig(
        store=tmp_path / "store.zarr", l1=(1.0,), tokens=1024, batch_size=64, device="cpu", evaluate_loss=False,
        out=tmp_path / "sae",
    )  # fmt: skip


def refused(config: TrainConfig, sentence: str, error: type[ActpipeError] = Misuse) -> None:
    """Asked with --overwrite over a finished run, which must survive."""
    before = {path: path.read_bytes() for path in sorted(config.out.rglob("*")) if path.is_file()}
    with pytest.raises(error, match=sentence) as raised:
        train(replace(config, overwrite=bool(before)))
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in sorted(config.out.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"hook": ("blocks.7.hook_resid_post",)}, Missing, "it has blocks.0.hook_resid_post"),
        ({"store": Path("nowhere.zarr")}, Missing, "run `actpipe harvest` first"),
        ({"architecture": "perceptron"}, Misuse, "there is .*relu"),
        ({"batch_size": 4096}, Misuse, r"A batch of 4096 rows is more than .* has to train on \(\d+\)"),
        ({"architecture": "topk", "l1": None, "k": (25.0,)}, Misuse, "from 1 to the 24 features"),
        ({"l1": (-1.0,)}, Misuse, "from 0 up, not -1"),
        ({"coder": "triton"}, Misuse, "coder"),
        ({"resample_every": 10**6}, Misuse, "never comes"),
        ({"architecture": "semilinear", "resample_every": 128}, Misuse, "cannot be resampled"),
        ({"device": "cuda:9"}, Misuse, "cuda"),
        ({"architecture": "crosscoder"}, Misuse, "two or more"),
        ({"expansion": (1e9,)}, Misuse, r"need 3\.6 TB or more to be trained, and cpu has"),
        ({"expansion": (1e308,)}, Misuse, "TB or more to be trained"),
        ({"evaluate_loss": True}, Missing, "does not say which model its rows are from. Or skip"),
        ({"from_model": True}, Missing, "does not say which model its rows are from"),
    ],
)
def test_it_is_refused_before_anything_is_written(
    config: TrainConfig, change: dict[str, Any], error: type[ActpipeError], sentence: str, finished: bool
) -> None:
    if finished:
        train(config)
    refused(replace(config, **change), sentence, error)


def test_a_run_is_neither_a_file_nor_in_its_store(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(replace(config, out=tmp_path / "file" / "sae"), "file is a file, so there can be no run")
    refused(replace(config, out=tmp_path / "file"), "file is a file")
    assert (tmp_path / "file").read_text() == "mine"
    refused(replace(config, out=tmp_path / "store.zarr" / "sae"), "would lie inside each other")
    assert not (tmp_path / "store.zarr" / "sae").exists()
    train(config)
    (tmp_path / "store.zarr").rename(config.out / "store.zarr")
    refused(replace(config, store=config.out / "store.zarr"), "would lie inside each other")


def test_an_account_is_asked_for_before_a_run_is_removed(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the package wandb is not installed")
    for name in ("HOME", "NETRC", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("wandb.login", lambda: False)  # the real one asks a terminal, and a server
    train(config)
    refused(replace(config, log="wandb"), "needs an account: run `wandb login` once, or set WANDB_MODE=offline")


def test_what_a_baseline_warns_of_is_said(config: TrainConfig) -> None:
    said: list[str] = []

    class Listening(type(silent)):  # type: ignore[misc]
        def say(self, text: str) -> None:
            said.append(text)

    train(replace(config, architecture="ica", l1=None), Listening())
    assert said == [
        f"{HOOK}-ica-x1-s0: FastICA was stopped after 200 iterations, before its components stood still; give it more "
        "iterations or a larger tolerance, and distrust components of nearly Gaussian rows."
    ]


def test_a_constant_hook_has_nothing_to_learn(tmp_path: Path, config: TrainConfig) -> None:
    planted(tmp_path / "constant.zarr", torch.full((SEQUENCES * CONTEXT, WIDTH), 3.0))
    refused(replace(config, store=tmp_path / "constant.zarr"), "are all the same")


def test_constant_dimensions_are_no_obstacle(tmp_path: Path, config: TrainConfig) -> None:
    x = noise()
    x[:, 3], x[:, 7] = 0.0, -5.0
    planted(tmp_path / "store2.zarr", x)
    for member in train(
        replace(config, store=tmp_path / "store2.zarr", architecture="relu,pca,tied", set=("whiten=true",))
    ).members:
        assert member["fvu"] is not None
        assert not member["diverged"]


def blind(summary: Any) -> Any:
    """A writer that looks at other rows than it stores."""
    return lambda layout, hook, slab, rows, *rest: summary(layout, hook, slab, rows.nan_to_num(0, 0, 0), *rest)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rows_that_are_not_finite_are_named(
    tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """Our own store refuses them; they come from other writers or from a model that computes them live."""
    x = noise()
    x[100, 5] = value
    with monkeypatch.context() as patched:
        patched.setattr("actpipe.store.slab_files.slab_summary", blind(slab_files.slab_summary))
        store = planted(tmp_path / "bad.zarr", x)
    assert not bool(torch.isfinite(store.read(HOOK, 100, 101)).all())
    with pytest.raises(Misuse, match=rf"^Row 100 of {HOOK} in .* not finite"):
        train(replace(config, store=tmp_path / "bad.zarr", out=tmp_path / "other"))
    assert not (tmp_path / "other" / "results.json").exists()
    bad = replace(store.statistics(HOOK), mean=x.double().mean(0).numpy())
    monkeypatch.setattr(Store, "statistics", lambda self, hook: bad)
    refused(replace(config, store=tmp_path / "bad.zarr"), f"The statistics of {HOOK} .*not finite")


def test_another_store_is_not_the_one_that_was_trained_on(tmp_path: Path, config: TrainConfig) -> None:
    train(config)
    planted(tmp_path / "another.zarr", noise(), seed=1)
    with pytest.raises(Mismatch, match="another store"):
        train(replace(config, store=tmp_path / "another.zarr"))


@pytest.mark.parametrize("begun", [1, 2])
def test_a_run_that_several_processes_began_is_continued_by_as_many(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, begun: int
) -> None:
    train(config)
    (config.out / "results.json").unlink()
    checkpoints = config.out / "checkpoint"
    checkpoints.mkdir()
    name = "x.safetensors" if begun == 1 else "x.0of2.safetensors"
    (checkpoints / name).write_text("")
    if begun == 1:
        monkeypatch.setattr("actpipe.training.ranks.Ranks.wait_for_all", lambda self: None)
        monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(Mismatch, match=f"begun by {begun} process"):
        train(config)
