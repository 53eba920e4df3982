"""How much of one set of directions is found in another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def max_cosines(found: Tensor, wanted: Tensor, *, at_once: int = 4096) -> Tensor:
    """For each row of `found` [n, d]: the largest cosine with any row of `wanted` [m, d] → [n]."""
    found, wanted = normalize(found, dim=1), normalize(wanted, dim=1)
    return torch.cat([(part @ wanted.T).amax(1) for part in torch.split(found, at_once)])


def mmcs(found: Tensor, wanted: Tensor) -> float:
    """Mean of the max cosines (Sharkey et al. 2022); not symmetric."""
    return float(max_cosines(found, wanted).mean())
