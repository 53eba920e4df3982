"""Encoders, encoder-decoder models and hooks of the bridge, all the way: text → store → dictionary → its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import actpipe
from actpipe.harvest.capture import capture
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import load_model
from actpipe.harvest.sites import Site
from actpipe.harvest.stage import harvest
from actpipe.training.config import TrainConfig
from actpipe.training.stage import train

HOOKS = {
    "bert": ("blocks.1.hook_resid_post", "module:bert.encoder.layer.1.intermediate"),
    "t5": ("encoder_blocks.1.hook_resid_post", "decoder_blocks.1.cross_attn.hook_z"),
    "gpt2": ("blocks.1.attn.hook_q", "blocks.1.hook_resid_post"),
}


def members_of(family: str, saved_models: dict[str, Path], text_file: Path, out: Path) -> list[dict[str, Any]]:
    """Harvest and train; the store must hold what the model computes with its padding masked."""
    config = HarvestConfig(
        model=str(saved_models[family]),
        dataset=str(text_file),
        hook=HOOKS[family],
        tokens=4000,
        context=24,
        dtype="float32",
        model_dtype="float32",
        device="cpu",
        out=out / "store.zarr",
    )
    assert harvest(config).complete
    store = actpipe.open_store(out / "store.zarr")
    model = load_model(config.model, dtype="float32", device="cpu")
    sites = [Site.recorded(hook, store.config["sites"][hook], width) for hook, width in store.hooks.items()]
    first = int(np.argmin((store.doc[:] >= 0).sum(axis=1)))  # the sequence with the most padding
    present = store.doc[first] >= 0
    with capture(model, sites) as run:
        taken = run(torch.from_numpy(store.tokens[first : first + 1].astype(np.int64)), torch.from_numpy(present[None]))
    for hook, value in taken.items():
        stored = torch.as_tensor(store.read(hook, first * 24, (first + 1) * 24))
        torch.testing.assert_close(stored[present], value[0, present], rtol=1e-4, atol=1e-5)
    trained = train(
        TrainConfig(store=out / "store.zarr", hook=("*",), l1=(0.5,), expansion=(2,), tokens=3000, out=out / "sae")
    )
    return trained.members


def test_an_encoder_is_harvested_with_its_padding_and_has_no_next_token(
    saved_models: dict[str, Path], text_file: Path, tmp_path: Path
) -> None:
    members = members_of("bert", saved_models, text_file, tmp_path)
    store = actpipe.open_store(tmp_path / "store.zarr")
    assert bool((store.doc[:] < 0).any())
    assert not store.mask[store.doc[:] < 0].any()
    assert [(member["delta_ce"], member["loss_recovered"]) for member in members] == [(None, None)] * 2
    assert all(member["fvu"] < 1 for member in members)


def test_encoder_and_cross_attention_of_one_model_share_their_tokens(
    saved_models: dict[str, Path], text_file: Path, tmp_path: Path
) -> None:
    members = members_of("t5", saved_models, text_file, tmp_path)
    store = actpipe.open_store(tmp_path / "store.zarr")
    model = load_model(str(saved_models["t5"]), dtype="float32", device="cpu")
    assert set(store.tokens[:, 0]) == {model.opening_token}
    assert not store.mask[:, 0].any()
    assert all(member["ce_clean"] > 0 and member["delta_ce"] is not None for member in members)


def test_hooks_of_the_bridge_are_recorded_and_spliced(
    saved_models: dict[str, Path], text_file: Path, tmp_path: Path
) -> None:
    members = members_of("gpt2", saved_models, text_file, tmp_path)
    store = actpipe.open_store(tmp_path / "store.zarr")
    assert [store.config["sites"][hook]["through"] for hook in HOOKS["gpt2"]] == ["bridge", "native"]
    bridged, native = (next(m for m in members if m["hook"] == hook) for hook in HOOKS["gpt2"])
    # The same text through two implementations of attention, with nothing spliced in.
    assert bridged["ce_clean"] == pytest.approx(native["ce_clean"], rel=1e-5)
    assert bridged["ce_zero"] != bridged["ce_clean"]
