"""α-entmax with an α of its own for each head, learned (Correia et al. 2019, arXiv 1909.00015)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from actpipe.errors import Misuse

from .entmax_map import entmax
from .normaliser import Normaliser

SOFTEST = 1.01  # α is between this and 2; nearer to 1 the gradient to α is a difference of large numbers


@dataclass(frozen=True, kw_only=True)
class AdaptiveEntmax(Normaliser):
    """α of head h = SOFTEST + (2 − SOFTEST) · σ(θₕ); the layer learns θ."""

    name: ClassVar[str] = "adaptive_entmax"

    alpha: Annotated[float, "Of every head at the start."] = 1.5

    def __post_init__(self) -> None:
        if not SOFTEST < self.alpha < 2:
            raise Misuse(f"alpha of adaptive_entmax starts between {SOFTEST} and 2, not at {self.alpha:g}.")

    def learned(self, n_heads: int) -> nn.Parameter:
        share = (self.alpha - SOFTEST) / (2 - SOFTEST)
        return nn.Parameter(torch.full((n_heads,), math.log(share / (1 - share))))

    def alphas(self, learned: Tensor) -> Tensor:
        return SOFTEST + (2 - SOFTEST) * learned.sigmoid()

    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        assert learned is not None, "the layer holds what learned() gave it"
        return entmax(scores, self.alphas(learned.to(scores.dtype))[:, None, None])
