"""The windows with the largest peaks of each unit: for display, and for scores that are defined on them. No sample."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .fired import Fired
from .frame import Ints, State
from .reservoir import ranks

_BUFFER = 1 << 18


class Peaks(NamedTuple):
    """One a document; ordered by unit, then rank."""

    unit: Ints
    document: Ints
    row: Ints
    value: NDArray[np.float32]


class Top:
    """The `keep` documents with the largest peak; of equal peaks the one with the smaller row. 28 · keep bytes a unit.

    A document is added once, when all of it was seen.
    """

    def __init__(self, n_units: int, keep: int) -> None:
        self.keep = keep
        self._least = np.zeros(n_units, dtype=np.float32)  # the weakest kept peak of a full unit
        none = np.zeros(0, np.int64)
        self._kept = Peaks(none, none, none, np.zeros(0, np.float32))
        self._new: list[Peaks] = []

    def add(self, found: Fired) -> None:
        self._push(Peaks(found.unit, found.document, found.top_row, found.top_value))

    def merge(self, other: Self) -> None:
        self._push(other.peaks())

    def state(self) -> State:
        return self.peaks()._asdict()

    def restore(self, state: State) -> None:
        self._push(Peaks(*(state[name] for name in Peaks._fields)))

    def peaks(self) -> Peaks:
        self._fold()
        return self._kept

    def _push(self, new: Peaks) -> None:
        strong = new.value >= self._least[new.unit]
        self._new.append(Peaks._make(column[strong] for column in new))
        if sum(len(each.unit) for each in self._new) > _BUFFER:
            self._fold()

    def _fold(self) -> None:
        if not self._new:
            return
        every = Peaks._make(np.concatenate(columns) for columns in zip(self._kept, *self._new, strict=True))
        self._new = []
        smallness = np.iinfo(np.int32).max - every.value.view(np.int32)  # bits of a positive float order like it
        order = np.lexsort((every.row, (every.unit << 31) | smallness))
        rank = ranks(every.unit[order])
        order, rank = order[rank < self.keep], rank[rank < self.keep]
        self._kept = Peaks._make(column[order] for column in every)
        full = rank == self.keep - 1
        self._least[self._kept.unit[full]] = self._kept.value[full]
