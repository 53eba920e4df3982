"""What a map from attention logits to attention weights is, and what an attention layer may ask of it.

A logit of −inf is a key that must not be seen (padding, the future), and it is −inf before anything is selected: a map
that picks a support never picks it. A query without any key to see attends to nothing: its weights are zeros, not NaN.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor, nn

from actpipe.errors import Misuse


@dataclass(frozen=True, kw_only=True)
class Normaliser(ABC):
    """A map over the last axis; its fields are its settings, and `str()` of it is the text that stands for it."""

    name: ClassVar[str]
    sums_to_one: ClassVar[bool] = True  # each row of weights, where a key may be seen

    def weights(self, scores: Tensor, learned: Tensor | None = None) -> Tensor:
        """Logits [batch, head, query, key] → weights of that shape and type; computed in float32 at least."""
        wide = scores if scores.dtype == torch.float64 else scores.float()
        empty = wide.detach().amax(dim=-1, keepdim=True) == -math.inf
        found = self._weights(wide.masked_fill(empty, 0.0), learned)
        return found.masked_fill(empty, 0.0).to(scores.dtype)

    @abstractmethod
    def _weights(self, scores: Tensor, learned: Tensor | None) -> Tensor:
        """As `weights`, for rows with at least one key."""

    def context(self, weights: Tensor, values: Tensor) -> Tensor:
        """What each head reads [batch, query, head, d]; values are [batch, key, head, d]."""
        return mix(weights, values)

    def learned(self, n_heads: int) -> nn.Parameter | None:
        """A parameter of the layer that `weights` is then given, at its start; most maps have none."""
        return None

    def at(self, fraction: float) -> Normaliser:
        """The map when `fraction` of training has passed; itself from 1 on."""
        return self

    def __str__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{self.name}:{','.join(changed)}" if changed else self.name


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """Σ over keys of weight · value."""
    return torch.einsum("bhqk,bkhd->bqhd", weights, values)


def require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise Misuse(f"{name} of an attention map must be above 0, not {value:g}.")
