"""Softmax over the logits above a threshold from the query's mean and spread (Spark Transformer, arXiv 2506.06644)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from .normaliser import Normaliser, require_positive


@dataclass(frozen=True, kw_only=True)
class StatisticalTopK(Normaliser):
    """p = softmax of the logits with s ≥ θ, θ = mean(s) + std(s) · Φ⁻¹(1 − k/n) over the n keys that may be seen.

    About k keys stay where logits are Gaussian, all where n ≤ k, and always the largest. No gradient goes through θ.
    """

    name: ClassVar[str] = "statistical_topk"

    k: Annotated[int, "Keys each query sees, about; 256 is that paper's."] = 256

    def __post_init__(self) -> None:
        require_positive("k", self.k)

    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        return scores.masked_fill(scores < self._threshold(scores.detach()), -math.inf).softmax(dim=-1)

    def _threshold(self, scores: Tensor) -> Tensor:
        """θ [..., 1], −inf where all keys stay."""
        seen = scores > -math.inf
        n = seen.sum(dim=-1, keepdim=True)
        mean = scores.masked_fill(~seen, 0.0).sum(dim=-1, keepdim=True) / n
        variance = (scores - mean).masked_fill(~seen, 0.0).square().sum(dim=-1, keepdim=True) / n
        place = torch.special.ndtri((1 - self.k / n).clamp(min=0.0).to(scores.dtype)).clamp(min=-1e4)
        theta = mean + variance.sqrt() * place
        return torch.where(n > self.k, theta.minimum(scores.amax(dim=-1, keepdim=True)), -math.inf)
