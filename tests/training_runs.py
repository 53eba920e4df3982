"""A small store with two hooks, and what tests of training compare of the runs over it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.stage import harvest

HOOK, MLP = "blocks.1.hook_resid_post", "blocks.1.mlp.hook_post"  # 32 and 48 wide


def harvested(model: Path, text: Path, out: Path) -> Path:
    config = HarvestConfig(
        model=str(model), dataset=str(text), hook=(HOOK, MLP), tokens=6000, context=24, device="cpu",
        model_dtype="float32", dtype="float32", out=out,
    )  # fmt: skip
    harvest(config)
    return out


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    files = sorted(run.glob("members/*/dictionary.safetensors"))
    return {f"{file.parent.name}/{key}": value for file in files for key, value in load_file(file).items()}


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = tensors_of(one), tensors_of(other)
    assert first.keys() == second.keys()
    assert len(first) > 0
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def metrics_of(run: Path) -> str:
    return (run / "metrics.jsonl").read_text()
