"""Some of the units of a set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dictionary import DictionaryUnits
from .unit_set import Path, UnitSet


@dataclass(frozen=True, kw_only=True)
class ChosenUnits(UnitSet):
    of: UnitSet
    index: NDArray[np.int64]

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.of.name

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.of.kind

    @property
    def hook(self) -> str:  # type: ignore[override]
        return self.of.hook

    @property
    def writes(self) -> str:  # type: ignore[override]
        return self.of.writes

    @property
    def path(self) -> Path:  # type: ignore[override]
        return self.of.path

    @property
    def feature(self) -> NDArray[np.int64]:  # type: ignore[override]
        return self.of.feature[self.index]

    @property
    def sign(self) -> NDArray[np.int8]:  # type: ignore[override]
        return self.of.sign[self.index]

    @property
    def directions(self) -> Tensor:
        return self._rows(self.of.directions)

    @property
    def source(self) -> Tensor:
        return self.of.source

    @property
    def reads(self) -> Tensor | None:
        return None if self.of.reads is None else self._rows(self.of.reads)

    def codes(self, x: Tensor) -> Tensor:
        codes = self.of.codes(x)
        return codes.index_select(1, torch.from_numpy(self.index).to(codes.device))

    def _rows(self, values: Tensor) -> Tensor:
        return values.index_select(0, torch.from_numpy(self.index).to(values.device))


def whole(units: UnitSet) -> UnitSet:
    """The set that they were drawn from, itself if all were taken."""
    if isinstance(units, ChosenUnits):
        return units.of
    if isinstance(units, DictionaryUnits):
        return replace(units, chosen=np.arange(units.dictionary.n))
    return units
