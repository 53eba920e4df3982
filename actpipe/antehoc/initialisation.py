"""First weights, drawn from a generator: the recipe of GPT-2.

Tables and linear maps N(0, 0.02²), biases 0, gains 1; maps that write into the residual stream are smaller by √(2L), so
that the stream does not grow with depth (Radford et al. 2019).
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

STD = 0.02


class Writer(nn.Linear):
    """A linear map whose output is added to the residual stream."""


@runtime_checkable
class DrawsItself(Protocol):
    """A module with a recipe of its own, for its own parameters and those of the modules in it."""

    def draw(self, generator: torch.Generator) -> None: ...


def initialise(module: nn.Module, *, depth: int, generator: torch.Generator) -> None:
    """Draw every weight of `module`, in the order of its modules. `depth` is L, the number of blocks."""
    if isinstance(module, DrawsItself):
        module.draw(generator)
        return
    if isinstance(module, nn.Embedding):
        normal(module.weight, STD, generator)
    elif isinstance(module, nn.Linear):
        normal(module.weight, STD / math.sqrt(2 * depth) if isinstance(module, Writer) else STD, generator)
        if module.bias is not None:
            module.bias.zero_()
    elif isinstance(module, nn.LayerNorm):
        module.weight.fill_(1)
        if module.bias is not None:
            module.bias.zero_()
    for child in module.children():
        initialise(child, depth=depth, generator=generator)


def normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """In float64 on the CPU, so that a seed means the same weights on every device."""
    drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * std
    weight.copy_(drawn)


def uniform(weight: Tensor, bound: float, generator: torch.Generator) -> None:
    drawn = (torch.rand(weight.shape, generator=generator, dtype=torch.float64) * 2 - 1) * bound
    weight.copy_(drawn)
