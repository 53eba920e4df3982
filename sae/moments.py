"""Moments of the codes of every feature, added up exactly over any number of batches.

Skew and kurtosis are about zero and not about the mean, as in the 2023 study whose tables they serve: for codes that
are zero almost everywhere they say how heavy the tail of the firings is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CODES_AT_ONCE = 2**20  # widened to float64 together: 8 MiB, which caches hold


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Of n features over `rows` rows; tensors are [n] float64. Without variance, skew and kurtosis are NaN."""

    rows: int
    times_active: Tensor  # rows with a code other than zero
    mean: Tensor
    variance: Tensor  # E c² − (E c)²
    skew: Tensor  # E c³ / variance^1.5
    kurtosis: Tensor  # E c⁴ / variance²
    l4: Tensor  # E c⁴


class MomentSums:
    """Σ c, Σ c², Σ c³, Σ c⁴ and the number of codes other than zero, in float64; the sums of parts can be merged."""

    def __init__(self, n: int, device: torch.device | str = "cpu") -> None:
        self.rows = 0
        self.powers = torch.zeros(4, n, dtype=torch.float64, device=device)
        self.active = torch.zeros(n, dtype=torch.int64, device=device)

    def add(self, codes: Tensor) -> None:
        """Codes [B, n], signed or not."""
        self.rows += len(codes)
        for part in torch.split(codes, max(1, CODES_AT_ONCE // codes.shape[1])):
            c = part.double()
            square = c.square()
            self.powers += torch.stack([c.sum(0), square.sum(0), (square * c).sum(0), square.square().sum(0)])
            self.active += (part != 0).sum(0)

    def merge(self, other: MomentSums) -> None:
        """Add what another process has counted."""
        self.rows += other.rows
        self.powers += other.powers
        self.active += other.active

    def result(self) -> Moments:
        mean, second, third, fourth = self.powers / self.rows
        variance = (second - mean.square()).clamp(min=0)
        return Moments(
            rows=self.rows,
            times_active=self.active.double(),
            mean=mean,
            variance=variance,
            skew=torch.where(variance > 0, third / variance**1.5, torch.nan),
            kurtosis=torch.where(variance > 0, fourth / variance.square(), torch.nan),
            l4=fourth,
        )
