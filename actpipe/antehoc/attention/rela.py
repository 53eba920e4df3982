"""Rectified linear attention (Zhang, Titov & Sennrich 2021, arXiv 2104.07012)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .normaliser import Normaliser, mix

EPSILON = 1e-6  # of the mean square, as in T5's own norms


@dataclass(frozen=True, kw_only=True)
class ReLA(Normaliser):
    """p = relu(s); what a head says is z / rms(z), z = Σ p v. The paper's gain is left to the output matrix, where it
    is a factor of each column."""

    name: ClassVar[str] = "rela"
    sums_to_one: ClassVar[bool] = False

    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        return torch.relu(scores)

    def context(self, weights: Tensor, values: Tensor) -> Tensor:
        z = mix(weights, values)
        wide = z if z.dtype == torch.float64 else z.float()
        return (wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + EPSILON)).to(z.dtype)
