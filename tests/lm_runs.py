"""A language model that is trained in a second, and what tests compare of two trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from actpipe.pretraining.config import TrainLMConfig


def small(text: Path, out: Path, **options: Any) -> TrainLMConfig:
    """40 steps of 8 sequences of 16 tokens; 12k parameters."""
    chosen: dict[str, Any] = {
        "dataset": str(text), "vocabulary": 280, "set": ("d_model=16", "n_layers=2", "n_heads=2", "d_mlp=32"),
        "context": 16, "batch_size": 8, "tokens": 40 * 128, "validation_share": 0.1, "validation_tokens": 512,
        "lr": 1e-2, "device": "cpu", "dtype": "float32", "out": out, "tokens_cache": out.parent / "tokens",
    }  # fmt: skip
    return TrainLMConfig(**{**chosen, **options})


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    assert len(first) > 10
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    metrics = [(run / "training" / "metrics.jsonl").read_text() for run in (one, other)]
    assert metrics[0] == metrics[1]
    assert len(metrics[0].splitlines()) >= 4
