"""Dictionaries of more than one hook, baselines, and rows that the model computes, from the store to results.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import actpipe
import sae
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.stage import harvest
from actpipe.training.config import HELD_OUT_SHARE, TrainConfig
from actpipe.training.group import Reads
from actpipe.training.reading import Reading
from actpipe.training.stage import train

from .training_runs import HOOK, MLP, harvested


@pytest.fixture(scope="module")
def store(saved_models: dict[str, Path], text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harvested(saved_models["llama"], text_file, tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.fixture
def config(store: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        store=store, tokens=8192, batch_size=128, device="cpu", evaluate_loss=False, out=tmp_path / "sae"
    )


def held_out(store: Path) -> dict[str, Tensor]:
    opened = actpipe.open_store(store)
    rows = torch.from_numpy(opened.held_out(HELD_OUT_SHARE)).flatten()
    return {hook: opened.read(hook, 0, opened.rows)[rows].double() for hook in (HOOK, MLP)}


def unexplained(x: Tensor, answer: Tensor) -> float:
    return float((x - answer).square().sum() / (x - x.mean(0)).square().sum())


def test_a_transcoder_predicts_the_other_hook_of_the_same_rows(config: TrainConfig, store: Path) -> None:
    rows = held_out(store)
    asked = replace(config, architecture="transcoder,skip_transcoder", hook=(HOOK,), target_hook=(MLP,), l1=(0.5,))
    members = train(asked).members
    assert [(m["hook"], m["target_hook"], m["d"], m["out"]) for m in members] == [(HOOK, MLP, 32, 48)] * 2
    for member in members:
        dictionary = sae.load(config.out / member["path"])
        assert (dictionary.d, dictionary.out) == (32, 48)
        answer = dictionary.reconstruct(rows[HOOK].float()).double()
        assert member["fvu"] == pytest.approx(unexplained(rows[MLP], answer), rel=1e-5)
        shuffled = dictionary.reconstruct(rows[HOOK].roll(1, dims=0).float()).double()
        assert unexplained(rows[MLP], shuffled) > member["fvu"] + 0.1  # it has learned which row belongs to which
    assert members[1]["fvu"] < members[0]["fvu"] < 1


def test_a_crosscoder_reads_all_hooks_at_once(config: TrainConfig, store: Path) -> None:
    rows = held_out(store)
    (member,) = train(replace(config, architecture="crosscoder", hook=(HOOK, MLP), l1=(0.3,))).members
    dictionary = sae.load(config.out / member["path"])
    x = torch.cat([rows[HOOK], rows[MLP]], dim=1)
    answer = dictionary.reconstruct(x.float()).double()
    assert (member["hooks"], member["d"]) == ([HOOK, MLP], 80)
    assert member["fvu"] == pytest.approx(unexplained(x, answer), rel=1e-5)
    blocks = [unexplained(rows[HOOK], answer[:, :32]), unexplained(rows[MLP], answer[:, 32:])]
    assert member["fvu_blocks"] == pytest.approx(blocks, rel=1e-5)
    assert max(blocks) < 0.9


def test_each_hook_of_a_crosscoder_weighs_as_much_as_its_width(store: Path) -> None:
    opened = actpipe.open_store(store)
    reading = Reading.of(opened, Reads((HOOK, MLP)), opened.mask, center=True)
    x = reading.sample(4000, seed=0).double()
    assert float(x[:, :32].square().sum(1).mean()) == pytest.approx(32, rel=0.02)
    assert float(x[:, 32:].square().sum(1).mean()) == pytest.approx(48, rel=0.02)


def test_rows_that_are_not_centred_keep_their_mean(store: Path) -> None:
    opened = actpipe.open_store(store)
    centred, raw = (Reading.of(opened, Reads((MLP,)), opened.mask, center=center) for center in (True, False))
    means = [reading.sample(5000, seed=0).mean(0) for reading in (centred, raw)]
    expected = torch.from_numpy(opened.statistics(MLP).mean).float() * raw.scaling.scale
    torch.testing.assert_close(means[1], expected, rtol=0.2, atol=0.02)
    assert float(means[0].norm()) < 0.1 * float(means[1].norm())
    for reading in (centred, raw):
        assert float(reading.sample(5000, seed=0).square().sum(1).mean()) == pytest.approx(48, rel=0.02)


def test_baselines_are_fitted_saved_and_measured_like_members(config: TrainConfig, store: Path) -> None:
    x = held_out(store)[HOOK]
    asked = replace(config, architecture="relu,pca,random,identity", l1=(1.0,), k=(0.0, 8.0))
    relu, pca, pca8, *rest = train(asked).members
    assert [m["architecture"] for m in (relu, pca, pca8, *rest)] == [
        "relu",
        "pca",
        "pca",
        "random",
        "random",
        "identity",
        "identity",
    ]
    assert pca["fvu"] == pytest.approx(0, abs=1e-6)
    assert (pca8["l0"], pca8["k"]) == (8, 8)
    assert relu["fvu"] < 1
    for member in (pca, pca8, *rest):
        dictionary = sae.load(config.out / member["path"])
        answer = dictionary.reconstruct(x.float()).double()
        assert member["fvu"] == pytest.approx(unexplained(x, answer), rel=1e-4, abs=1e-9)
        assert dictionary.config["training"]["rows"] == member["rows"]


def test_a_baseline_is_not_fitted_twice(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from actpipe.training import stage

    asked = replace(config, architecture="pca")
    with monkeypatch.context() as patched:
        patched.setattr(stage, "evaluated", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(asked)
    monkeypatch.setattr(sae.get_architecture("pca"), "fit", lambda *_: pytest.fail("fitted again"))
    (member,) = train(asked).members
    assert member["fvu"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("architecture", ["crosscoder", "transcoder"])
def test_several_hooks_are_read_from_the_model_as_from_the_disk(
    saved_models: dict[str, Path], text_file: Path, tmp_path: Path, architecture: str
) -> None:
    asked = HarvestConfig(
        model=str(saved_models["llama"]), dataset=str(text_file), hook=(HOOK, MLP), tokens=4000, context=24,
        device="cpu", model_dtype="float32", dtype="float32", out=tmp_path / "store.zarr", batch_size=4,
    )  # fmt: skip
    more: dict[str, Any] = {"hook": (HOOK, MLP)} if architecture == "crosscoder" else {"target_hook": (MLP,)}
    train_config = TrainConfig(
        store=asked.out, architecture=architecture, l1=(0.5,), tokens=2048, batch_size=128, device="cpu",
        evaluate_loss=False, from_model=True, out=tmp_path / "live", **more,
    )  # fmt: skip
    harvest(asked, text_only=True)
    (live,) = train(train_config).members
    harvest(asked)
    (disk,) = train(replace(train_config, out=tmp_path / "disk", from_model=False)).members
    assert live["fvu"] == pytest.approx(disk["fvu"], rel=0.02)
    assert live["l0"] == pytest.approx(disk["l0"], rel=0.05)


def test_splicing_measures_where_the_answer_belongs(config: TrainConfig, store: Path) -> None:
    """A transcoder's answer replaces the hook it predicts; a crosscoder's each of its hooks, one after the other."""
    asked = replace(config, evaluate_loss=True, l1=(0.3,))
    (transcoder,) = train(replace(asked, architecture="transcoder", hook=(HOOK,), target_hook=(MLP,))).members
    (crosscoder,) = train(
        replace(asked, architecture="crosscoder", hook=(HOOK, MLP), out=config.out.parent / "cross")
    ).members
    (alone,) = train(replace(asked, hook=(MLP,), out=config.out.parent / "alone")).members
    # The same baseline, of the hook that is replaced, whoever replaces it.
    assert transcoder["ce_zero"] == pytest.approx(alone["ce_zero"], abs=1e-6)
    assert transcoder["kl_mean"] == pytest.approx(alone["kl_mean"], abs=1e-6)
    assert len(crosscoder["delta_ce_blocks"]) == 2
    assert crosscoder["delta_ce"] == pytest.approx(sum(crosscoder["delta_ce_blocks"]) / 2)
    for member in (transcoder, crosscoder, alone):
        assert member["kl"] > 0
        assert member["perplexity_clean"] == pytest.approx(torch.tensor(member["ce_clean"]).exp().item(), rel=1e-4)
