"""Softmax over the k largest logits of each query (Gupta et al. 2021, arXiv 2106.06899)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from .normaliser import Normaliser, require_positive


@dataclass(frozen=True, kw_only=True)
class TopK(Normaliser):
    """p = softmax of the k largest logits, zero elsewhere; gradients go through those k."""

    name: ClassVar[str] = "topk"

    k: Annotated[int, "Keys each query sees, of those it may see."] = 8

    def __post_init__(self) -> None:
        require_positive("k", self.k)

    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        if self.k >= scores.shape[-1]:
            return scores.softmax(dim=-1)
        largest, places = scores.topk(self.k, dim=-1)
        return torch.full_like(scores, -math.inf).scatter(-1, places, largest).softmax(dim=-1)
