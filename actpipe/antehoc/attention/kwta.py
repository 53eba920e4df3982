"""Softmax attention of whose output only the k largest channels pass: k winners take all over all heads together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from actpipe.antehoc.kwta import k_winners

from .normaliser import Normaliser, mix, require_positive


@dataclass(frozen=True, kw_only=True)
class KWTA(Normaliser):
    """p = softmax(s); of z = Σ p v, the channels of all heads in one row, the k largest |z| pass.

    The gate is hard and its gradient soft (antehoc/kwta.py). A self-ablating transformer computes its scores by a layer
    of their own; here a channel is its own score, so that a dense checkpoint needs no new weights.
    """

    name: ClassVar[str] = "kwta"

    k: Annotated[int, "Channels that pass, of all heads together."] = 32

    def __post_init__(self) -> None:
        require_positive("k", self.k)

    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        return scores.softmax(dim=-1)

    def context(self, weights: Tensor, values: Tensor) -> Tensor:
        z = mix(weights, values)
        channels = z.flatten(-2)
        return (channels * k_winners(channels.abs(), min(self.k, channels.shape[-1]))).view_as(z)
