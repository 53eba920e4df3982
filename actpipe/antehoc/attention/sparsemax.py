"""Sparsemax (Martins & Astudillo 2016, arXiv 1602.02068): the nearest point of the simplex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .normaliser import Normaliser


@dataclass(frozen=True, kw_only=True)
class Sparsemax(Normaliser):
    """p = [s − τ]₊ with Σ p = 1."""

    name: ClassVar[str] = "sparsemax"

    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        return sparsemax(scores)


def sparsemax(scores: Tensor) -> Tensor:
    found: Tensor = _Sparsemax.apply(scores)  # type: ignore[no-untyped-call]
    return found


class _Sparsemax(torch.autograd.Function):
    """With z sorted from the largest: k = max{j : 1 + j zⱼ > Σ_{i ≤ j} zᵢ}, τ = (Σ_{i ≤ k} zᵢ − 1) / k."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        s = scores - scores.amax(dim=-1, keepdim=True)
        z = s.sort(dim=-1, descending=True).values
        total = z.cumsum(dim=-1)
        j = torch.arange(1, z.shape[-1] + 1, device=z.device)
        k = (1 + j * z > total).sum(dim=-1, keepdim=True)  # true up to k, then false: the condition is monotone
        p = (s - (total.gather(-1, k - 1) - 1) / k).clamp(min=0)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        """On the support: g less its mean over the support."""
        (p,), (g,) = ctx.saved_tensors, upstream
        support = p > 0
        mean = g.masked_fill(~support, 0.0).sum(dim=-1, keepdim=True) / support.sum(dim=-1, keepdim=True)
        found: Tensor = (g - mean).masked_fill(~support, 0.0)
        return found
