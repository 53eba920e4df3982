"""Independent features: the toy on which sparse autoencoders first recovered any (Sharkey, Braun and Millidge 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sae.start import random_directions

from .truth import GroundTruth, truth_generator


@dataclass(frozen=True, kw_only=True)
class Mixture(GroundTruth):
    """Feature i is active with probability (active / G) · decayⁱ and as strong as a uniform number in (0, 1)."""

    probability: Tensor  # [G]
    noise_scale: float = 0.0  # standard deviation of gaussian noise in every coordinate

    @classmethod
    def create(
        cls,
        *,
        seed: int,
        d: int = 256,
        n_features: int = 512,
        n_active: float = 5.0,
        decay: float = 0.99,
        noise_scale: float = 0.0,
    ) -> Mixture:
        """The defaults are the published recipe. Feature 0 has probability `n_active` / `n_features`."""
        generator = truth_generator(seed)
        probability = (n_active / n_features) * decay ** torch.arange(n_features, dtype=torch.float32)
        return cls(
            directions=random_directions(n_features, d, generator), probability=probability, noise_scale=noise_scale
        )

    def codes(self, n_rows: int, generator: torch.Generator) -> Tensor:
        shape = n_rows, len(self.probability)
        return (torch.rand(shape, generator=generator) < self.probability) * torch.rand(shape, generator=generator)

    def noise(self, n_rows: int, generator: torch.Generator) -> Tensor | float:
        if not self.noise_scale:
            return 0.0
        return self.noise_scale * torch.randn(n_rows, self.directions.shape[1], generator=generator)
