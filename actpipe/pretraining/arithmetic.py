"""Number types, products and compilation of a training: what `auto` means, by measurement (docs/measurements.md)."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack

import torch

from actpipe.harvest.model import computes_bfloat16

from .config import TrainLMConfig
from .cpu_products import CPUProducts


def dtype_for(config: TrainLMConfig, device: torch.device) -> torch.dtype:
    """Of matrix products. `auto` is bfloat16 where the processor computes with it: a step of a model of a million
    weights is then 1.4 (GPT, self-ablating) to 2 times (CRATE) as fast on a CPU, casting included."""
    wanted = config.dtype
    if wanted == "auto":
        wanted = "bfloat16" if computes_bfloat16(device) else "float32"
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def arithmetic(dtype: torch.dtype, device: torch.device, *, compiled: bool = False) -> AbstractContextManager[object]:
    """Weights stay float32 and are cast once a pass; sums, norms and the loss are float32 too. What is compiled has
    products of its own."""
    entered = ExitStack()
    if dtype != torch.float32:
        entered.enter_context(torch.autocast(device.type, dtype))
    if device.type == "cpu" and not compiled:
        entered.enter_context(CPUProducts())
    return entered


def is_compiled(config: TrainLMConfig, device: torch.device) -> bool:
    """By itself on a GPU alone: on a CPU a compiled step took 1.0 to 1.15 times as long, and a minute to begin."""
    return device.type == "cuda" if config.compile is None else config.compile
