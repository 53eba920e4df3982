"""Number types and compilation: what `auto` means, by measurement (docs/measurements.md)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from actpipe.harvest.model import computes_bfloat16

from .config import TrainLMConfig


def dtype_for(config: TrainLMConfig, device: torch.device) -> torch.dtype:
    """Of matrix products. `auto` is bfloat16 where the processor computes with it: a step of a model of a million
    weights is then 1.4 (GPT, self-ablating) to 2 times (CRATE) as fast on a CPU, casting included."""
    wanted = config.dtype
    if wanted == "auto":
        wanted = "bfloat16" if computes_bfloat16(device) else "float32"
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Weights stay float32 and are cast once a pass; sums, norms and the loss are float32 too."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def is_compiled(config: TrainLMConfig, device: torch.device) -> bool:
    """By itself on a GPU alone: on a CPU a compiled step took 1.0 to 1.15 times as long, and a minute to begin."""
    return device.type == "cuda" if config.compile is None else config.compile
