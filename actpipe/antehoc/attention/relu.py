"""ReLU attention (Wortsman et al. 2023, arXiv 2309.08586): no competition between keys."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .normaliser import Normaliser


@dataclass(frozen=True, kw_only=True)
class ReLU(Normaliser):
    """p = relu(s) / n, n the number of keys that may be seen."""

    name: ClassVar[str] = "relu"
    sums_to_one: ClassVar[bool] = False

    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        return torch.relu(scores) / (scores > -math.inf).sum(dim=-1, keepdim=True)
