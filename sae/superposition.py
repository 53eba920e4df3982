"""Synthetic rows made of known features, on which a dictionary can be checked against the truth.

After the toy of Sharkey et al. (2022): G unit directions in d < G dimensions, feature i active with probability
p · decayⁱ and strength uniform in (0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .start import random_directions


@dataclass(frozen=True, kw_only=True)
class Mixture:
    directions: Tensor  # [G, d], unit rows
    probability: Tensor  # [G]

    @classmethod
    def create(cls, *, d: int, n_features: int, n_active: float, seed: int, decay: float = 0.99) -> Mixture:
        """`n_active` / `n_features` is the probability of feature 0; later ones are rarer by `decay` each."""
        generator = torch.Generator().manual_seed(seed)
        probability = (n_active / n_features) * decay ** torch.arange(n_features, dtype=torch.float32)
        return cls(directions=random_directions(n_features, d, generator), probability=probability)

    def codes(self, n_rows: int, generator: torch.Generator) -> Tensor:
        """[n_rows, G]: zero, or uniform in (0, 1)."""
        active = torch.rand(n_rows, len(self.probability), generator=generator) < self.probability
        return active * torch.rand(n_rows, len(self.probability), generator=generator)

    def rows(self, n_rows: int, generator: torch.Generator, *, noise: float = 0.0) -> Tensor:
        """[n_rows, d], with gaussian noise of that standard deviation in every coordinate."""
        x = self.codes(n_rows, generator) @ self.directions
        return x + noise * torch.randn(x.shape, generator=generator) if noise else x
