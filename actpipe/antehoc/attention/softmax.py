"""Softmax: the control. Every key that may be seen has some weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .normaliser import Normaliser


@dataclass(frozen=True, kw_only=True)
class Softmax(Normaliser):
    """pᵢ = exp(sᵢ) / Σ exp(sⱼ)."""

    name: ClassVar[str] = "softmax"

    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        return scores.softmax(dim=-1)
