"""How sparse models of ours are: each place for itself, and zeros by design are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from actpipe.antehoc import Architecture, SelfAblating, WeightSparse
from actpipe.antehoc.hugging_face import save
from actpipe.sparsity import measure_sparsity
from actpipe.sparsity.config import SparsityConfig

SIZES = {"context": 16, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_mlp": 32}


def measured(model: Architecture, tokenizer: Any, text: Path, folder: Path, **options: Any) -> dict[str, Any]:
    save(model.build(seed=0), model, tokenizer, folder / "model")
    config = SparsityConfig(
        model=str(folder / "model"), out=folder / "out", dataset=str(text), tokens=320, context=16, device="cpu",
        model_dtype="float32", untrained=False, **options,
    )  # fmt: skip
    summary: dict[str, Any] = measure_sparsity(config)["summary"]
    return summary


def test_both_streams_of_a_self_ablating_model_are_measured_apart(
    tokenizer: Any, text_file: Path, tmp_path: Path
) -> None:
    model = SelfAblating(vocabulary=len(tokenizer), k_attention=2, k_neurons=4, **SIZES)
    summary = measured(model, tokenizer, text_file, tmp_path)
    means = {row["stack"]: row for row in summary["means"]}
    kept = "blocks.*.ablated.mlp.hook_post"
    assert set(means) == {"blocks.*.mlp.hook_post", kept}  # a gate's score is no activation
    assert {row["hooks"] for row in means.values()} == {2}
    assert means[kept]["firing"] == "nonzero"
    assert means[kept]["nonzero"] == pytest.approx(4 / 32)
    assert means["blocks.*.mlp.hook_post"]["nonzero"] > 0.99
    assert any(f"Over the 2 layers of {kept}, 12.5 %" in sentence for sentence in summary["reading"])


def test_several_places_of_a_block_are_not_averaged(tokenizer: Any, text_file: Path, tmp_path: Path) -> None:
    model = SelfAblating(vocabulary=len(tokenizer), **{**SIZES, "k_attention": 2, "k_neurons": 4})
    hooks = ("blocks.*.hook_resid_post", "blocks.*.ablated.mlp.hook_gate")
    places = {*hooks, "blocks.*.ablated.hook_resid_post"}  # a star of a pattern takes dots too
    summary = measured(model, tokenizer, text_file, tmp_path, hook=hooks)
    assert {row["stack"] for row in summary["means"]} == places
    assert {row["firing"] for row in summary["means"]} == {"above"}  # neither is ever 0
    assert {row["stack"] for row in pq.read_table(tmp_path / "out" / "layers.parquet").to_pylist()} == places


def test_zeros_of_abs_topk_are_zeros_by_design(tokenizer: Any, text_file: Path, tmp_path: Path) -> None:
    model = WeightSparse(vocabulary=len(tokenizer), kept=0.25, **SIZES)
    summary = measured(model, tokenizer, text_file, tmp_path)
    (row,) = summary["means"]
    assert (row["stack"], row["firing"]) == ("blocks", "nonzero")
    assert row["nonzero"] == pytest.approx(0.25)
    assert not any("nowhere by design" in sentence for sentence in summary["reading"])
    with torch.device("meta"):
        assert {unit.kind for unit in WeightSparse(kept=1.0).network().units()} == {"neuron"}
