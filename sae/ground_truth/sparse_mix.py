"""Features that fire together: the correlated toy of the 2023 dictionary study (Cunningham et al.)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sae.start import random_directions

from .truth import GroundTruth, truth_generator


@dataclass(frozen=True, kw_only=True)
class SparseMix(GroundTruth):
    """For each row z ~ N(0, C) and pᵢ = Φ(zᵢ) · decayⁱ, rescaled to a mean of active / G; Φ(zᵢ) = 1 if uncorrelated.

    Feature i is active with probability pᵢ (one above 1 is 1) and as strong as the product of two uniform numbers; a
    row without any gets one at random, with 1 for the first of the two. Upstream draws one z for a whole batch, so its
    features are independent within a batch; here they are correlated within rows, which is what a dictionary sees.
    """

    relative: Tensor  # [G], decayⁱ
    n_active: float  # expected number of features active on a row, before the rows without any are filled
    correlation: Tensor | None  # [G, G], lower triangle L with L Lᵀ = C
    noise_factor: Tensor | None  # [d, d], lower triangle of the covariance of the noise, scale included

    @classmethod
    def create(
        cls,
        *,
        seed: int,
        d: int = 512,
        n_features: int = 1024,
        n_active: float = 10.0,
        decay: float = 0.99,
        correlated: bool = True,
        noise_scale: float = 1e-3,
    ) -> SparseMix:
        """Published: d 512; 1024 or 2048 features; 10, 50, 100 active; decay 1, 0.99, 0.996; noise 0, 1e-3, 0.1."""
        generator = truth_generator(seed)
        return cls(
            directions=random_directions(n_features, d, generator),
            relative=decay ** torch.arange(n_features, dtype=torch.float32),
            n_active=n_active,
            correlation=random_covariance_factor(n_features, generator) if correlated else None,
            noise_factor=noise_scale * random_covariance_factor(d, generator) if noise_scale else None,
        )

    def codes(self, n_rows: int, generator: torch.Generator) -> Tensor:
        shape = n_rows, len(self.relative)
        active = torch.rand(shape, generator=generator) <= self._probabilities(n_rows, generator)
        codes = active * torch.rand(shape, generator=generator)
        empty = (codes == 0).all(dim=1).nonzero()[:, 0]
        codes[empty, torch.randint(shape[1], (len(empty),), generator=generator)] = 1.0
        return codes * torch.rand(shape, generator=generator)

    def noise(self, n_rows: int, generator: torch.Generator) -> Tensor | float:
        if self.noise_factor is None:
            return 0.0
        return torch.randn(n_rows, len(self.noise_factor), generator=generator) @ self.noise_factor.T

    def _probabilities(self, n_rows: int, generator: torch.Generator) -> Tensor:
        relative = self.relative.expand(n_rows, -1)
        if self.correlation is not None:
            z = torch.randn(relative.shape, generator=generator) @ self.correlation.T
            relative = relative * torch.special.ndtr(z)
        return relative * (self.n_active / relative.sum(dim=1, keepdim=True))


def random_covariance_factor(n: int, generator: torch.Generator) -> Tensor:
    """L with L Lᵀ = (U + Uᵀ) / 2 − 1.001 λ I, U uniform in (0, 1) and λ its least eigenvalue if that is negative."""
    uniform = torch.rand(n, n, generator=generator, dtype=torch.float64)
    covariance = (uniform + uniform.T) / 2
    least = min(0.0, float(torch.linalg.eigvalsh(covariance)[0]))
    factor: Tensor = torch.linalg.cholesky(covariance - 1.001 * least * torch.eye(n, dtype=torch.float64))
    return factor.float()
