"""Units that the model has by itself: every coordinate of the rows of a hook, split by sign where they are signed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .unit_set import Path, UnitSet


@dataclass(frozen=True, kw_only=True)
class NativeUnits(UnitSet):
    """Neurons, codes, gates: coordinate i of the row is the activation of unit i.

    `written` [n, d_model] are the directions of the coordinates; `k` keeps the k largest magnitudes of each row (the
    control of neurons at the sparsity of a dictionary).
    """

    name: str
    kind: str
    hook: str
    writes: str
    written: Tensor
    signed: bool = False
    k: int | None = None
    path: Path = "clean"

    @property
    def feature(self) -> NDArray[np.int64]:  # type: ignore[override]
        each = np.arange(len(self.written))
        return np.concatenate([each, each]) if self.signed else each

    @property
    def sign(self) -> NDArray[np.int8]:  # type: ignore[override]
        n = len(self.written)
        return np.repeat(np.array([1, -1] if self.signed else [1], np.int8), n)

    @property
    def directions(self) -> Tensor:
        return torch.cat([self.written, -self.written]) if self.signed else self.written

    @property
    def source(self) -> Tensor:
        return self.written

    def codes(self, x: Tensor) -> Tensor:
        if self.k is not None and self.k < x.shape[1]:
            kept = x.abs().topk(self.k, dim=1).indices
            x = torch.zeros_like(x).scatter(1, kept, x.gather(1, kept))
        return torch.cat([x.relu(), (-x).relu()], dim=1) if self.signed else x.relu()
