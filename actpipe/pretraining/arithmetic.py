"""Number types and compilation: what `auto` means, by measurement (docs/measurements.md)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from .config import TrainLMConfig


def dtype_for(config: TrainLMConfig, device: torch.device) -> torch.dtype:
    """Of matrix products. On a GPU bfloat16 where it has it; on a CPU float32."""
    if config.dtype != "auto":
        return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_it else torch.float32


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Weights stay float32 and are cast once a pass; sums, norms and the loss are float32 too."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def is_compiled(config: TrainLMConfig, device: torch.device) -> bool:
    return device.type == "cuda" if config.compile is None else config.compile
