"""Training without activations on the disk: the same batches as from the disk, and a run like any other."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import actpipe
from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.errors import Mismatch, Missing
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.live import LiveStore
from actpipe.harvest.stage import harvest
from actpipe.training.config import TrainConfig
from actpipe.training.stage import train

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(params=["float32", "bfloat16", "int8"])
def config(request: Any, saved_models: dict[str, Path], text_file: Path, tmp_path: Path) -> HarvestConfig:
    return HarvestConfig(
        model=str(saved_models["llama"]),
        dataset=str(text_file),
        hook=(HOOK, "blocks.0.mlp.hook_post"),
        tokens=4000,
        context=24,
        batch_size=4,
        model_dtype="float32",
        dtype=request.param,
        device="cpu",
        out=tmp_path / "store.zarr",
    )


def test_batches_equal_those_of_the_same_store_on_disk(config: HarvestConfig) -> None:
    harvest(config, text_only=True)
    live = LiveStore.over(config.out, "cpu")
    computed = list(islice(live.batches(HOOK, batch_size=256, seed=3, pool_rows=700), 20))  # beyond one epoch
    rows = live.read(HOOK, 100, 175)
    harvest(config)  # fills the store
    store = actpipe.open_store(config.out)
    assert store.is_complete
    for one, other in zip(computed, store.batches(HOOK, batch_size=256, seed=3, pool_rows=700), strict=False):
        assert torch.equal(one.rows, other.rows)
        torch.testing.assert_close(one.x, other.x, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rows, store.read(HOOK, 100, 175), rtol=1e-5, atol=1e-6)
    whole, sample = store.statistics(HOOK), live.statistics(HOOK)  # here the sample is everything
    assert whole.count == sample.count
    np.testing.assert_allclose(sample.mean, whole.mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sample.variance, whole.variance, rtol=1e-4)


@pytest.mark.parametrize("config", ["float32"], indirect=True)
def test_a_run_from_the_model_is_like_one_from_the_disk_and_can_be_analysed(
    config: HarvestConfig, tmp_path: Path
) -> None:
    harvest(config, text_only=True)
    options: dict[str, Any] = {"hook": (HOOK,), "l1": (0.5, 2.0), "tokens": 4000, "batch_size": 256, "device": "cpu"}
    asked = TrainConfig(store=config.out, out=tmp_path / "live", from_model=True, **options)
    live = train(asked).members
    with pytest.raises(Missing, match=r"not finished .* with --from-model"):
        train(replace(asked, out=tmp_path / "disk", from_model=False))
    report = analyze(AnalyzeConfig(run=tmp_path / "live", out=tmp_path / "report"))
    assert report["units"] == sum(member["width"] for member in live)
    harvest(config)
    disk = train(replace(asked, out=tmp_path / "disk", from_model=False)).members
    for one, other in zip(live, disk, strict=True):
        assert one["l0"] == pytest.approx(other["l0"], rel=0.02)
        assert one["fvu"] == pytest.approx(other["fvu"], rel=0.02)
        assert one["delta_ce"] == pytest.approx(other["delta_ce"], abs=0.01)


@pytest.mark.parametrize("config", ["float32"], indirect=True)
def test_a_model_that_is_gone_or_has_changed_is_one_sentence(config: HarvestConfig, tmp_path: Path) -> None:
    import shutil

    from transformers import AutoModelForCausalLM

    model = tmp_path / "model"
    shutil.copytree(config.model, model)
    config = replace(config, model=str(model))
    harvest(config, text_only=True)
    changed = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        next(changed.parameters()).add_(1)
    changed.save_pretrained(model)
    with pytest.raises(Mismatch, match=r"has other weights now .* Harvest again\.$"):
        LiveStore.over(config.out, "cpu")
    shutil.rmtree(model)
    with pytest.raises(Missing, match="is not there any more"):
        LiveStore.over(config.out, "cpu")
