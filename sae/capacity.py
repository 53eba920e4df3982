"""How directions share the space: among each other, and among its coordinates.

Directions are rows [n, d] of any length. Nothing here holds an [n, n] matrix, so n may be 16,384 or a million.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import normalize

PAIRS_AT_ONCE = 2**24  # cosines of one block in `expected_interference`, 64 MiB in float32


def capacities(directions: Tensor) -> Tensor:
    """C_i = (d_i · d_i)² / Σ_j (d_i · d_j)² (Scherlis et al. 2022), [n] float64.

    The share of a dimension that feature i has to itself: 1 if it is orthogonal to all others, 1/k if k point its way.
    Their sum is at most d. By Σ_j (d_i · d_j)² = d_iᵀ (Σ_j d_j d_jᵀ) d_i only a [d, d] matrix is needed.
    A direction of length zero has none.
    """
    rows = directions.double()
    overlap = ((rows @ (rows.T @ rows)) * rows).sum(1)
    return torch.where(overlap > 0, rows.square().sum(1).square() / overlap, 0.0)


def neurons_per_feature(directions: Tensor) -> Tensor:
    """1 / Σ_j p_j² with p = |d_i| / ‖d_i‖₁ (Simpson's index), [n]: among how many coordinates a feature is spread."""
    return torch.reciprocal(_shares(directions).square().sum(1))


def entropies(directions: Tensor) -> Tensor:
    """−Σ_j p_j ln p_j with p = |d_i| / ‖d_i‖₁, [n] nats: 0 on one coordinate, ln d on all alike."""
    nats: Tensor = torch.special.entr(_shares(directions))
    return nats.sum(1)


def expected_interference(directions: Tensor, codes: Iterable[Tensor]) -> Tensor:
    """Mean of |c_i| / Σ_j cos²(i, j) |c_j| over the rows on which feature i is active, [n] float64; NaN without any.

    The share of what is read along feature i that is its own: 1 without interference. `codes` are batches [B, n].
    Along a direction of length zero nothing is read, and its share is 0.
    """
    unit = normalize(directions, dim=1)
    total, times = (torch.zeros(len(unit), dtype=torch.float64, device=unit.device) for _ in range(2))
    for batch in codes:
        most = max(1, int((batch != 0).sum(1).max())) if len(batch) else 1
        for part in torch.split(batch, max(1, PAIRS_AT_ONCE // (most * (most + unit.shape[1])))):
            strength, which = part.abs().topk(most, dim=1)  # [b, most]: every active feature, then zeros
            active = unit[which]
            read = ((active @ active.mT).square() @ strength[..., None]).squeeze(-1)
            fires = strength > 0
            own = torch.where(read > 0, strength / read, 0.0)
            total.index_add_(0, which[fires], own[fires].double())
            times.index_add_(0, which[fires], torch.ones_like(read[fires], dtype=torch.float64))
    return total / times


def _shares(directions: Tensor) -> Tensor:
    return normalize(directions.abs(), p=1.0, dim=1)
