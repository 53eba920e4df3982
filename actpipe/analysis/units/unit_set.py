"""A set of units: n non-negative functions of the rows of one hook, and what each of them writes.

A unit is what a score judges: a neuron, a code, a latent of an autoencoder, a direction. Its activation a(t) ≥ 0 is one
number a token. A signed source is split into two units, max(a, 0) and max(−a, 0). Its contribution c(t) = a(t)·‖w‖ is
the only magnitude that may be compared between kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Path = Literal["clean", "ablated"]


class UnitSet(ABC):
    name: str  # unique in a report
    kind: str  # sae_latent, neuron, topk_neuron, crate_code, pca …
    hook: str  # whose rows it reads
    writes: str  # the hook its directions belong to: another one for a transcoder or a neuron
    path: Path = "clean"  # a self-ablating model has two streams of values through the same weights
    feature: NDArray[np.int64]  # [n], number in the dictionary, or of the neuron or component
    sign: NDArray[np.int8]  # [n], −1 where the unit is the negative half of a signed source

    @property
    def n(self) -> int:
        return len(self.feature)

    @property
    @abstractmethod
    def directions(self) -> Tensor:
        """[n, d_out] in model units: a unit adds a(t) times its row to what is at `writes`. Signs are applied."""

    @property
    def source(self) -> Tensor:
        """[width, d_out]: the directions of everything the units were taken from; `feature` numbers them."""
        return self.directions

    @property
    def reads(self) -> Tensor | None:
        """[n, d]: what the rows are multiplied with, where the units have such vectors."""
        return None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # never changed

    @abstractmethod
    def codes(self, x: Tensor) -> Tensor:
        """[B, d] rows of `hook` in model units → [B, n], ≥ 0."""
