"""α-entmax attention: exact zeros, smooth, and softmax where α is 1, from which it can be annealed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from torch import Tensor

from actpipe.antehoc.topk import share_at
from actpipe.errors import Misuse

from .entmax_map import LEAST_ALPHA, entmax
from .normaliser import Normaliser


@dataclass(frozen=True, kw_only=True)
class Entmax(Normaliser):
    """p = [(α−1) s − τ]₊^(1/(α−1)) with Σ p = 1.

    α goes from 1 to its target over the first `warmup` of training, in stages (`topk.share_at`).
    """

    name: ClassVar[str] = "entmax"

    alpha: Annotated[float, "1 is softmax, 2 is sparsemax."] = 1.5
    warmup: Annotated[float, "Share of training over which alpha rises from 1; 0 for none."] = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.alpha <= 2:
            raise Misuse(f"alpha of entmax must be from 1 (softmax) to 2 (sparsemax), not {self.alpha:g}.")
        if not 0 <= self.warmup <= 1:
            raise Misuse(f"warmup of entmax is a share of training, from 0 to 1, not {self.warmup:g}.")

    def at(self, fraction: float) -> Entmax:
        if fraction >= self.warmup:
            return self
        return replace(self, alpha=1 + (self.alpha - 1) * share_at(fraction, warmup=self.warmup))

    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        return scores.softmax(dim=-1) if self.alpha < LEAST_ALPHA else entmax(scores, self.alpha)
