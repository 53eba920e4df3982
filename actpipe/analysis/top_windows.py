"""The strongest contexts of each unit, with the activations around the peak, found in the same pass as everything else.

A window lies inside its sequence and blocks are whole sequences, so the activations of all its tokens are at hand when
the peak is seen: no second pass. Most rows are rejected by the unit's current threshold at the price of one comparison.
State: `keep` · 164 bytes a unit (2.6 kB at 16 windows).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .firings import Firings
from .rows import WINDOW

KEEP = 16  # windows a unit


class Windows(NamedTuple):
    """One entry a window; arrays of equal length."""

    unit: NDArray[np.int64]
    value: NDArray[np.float32]  # the peak
    document: NDArray[np.int64]
    row: NDArray[np.int64]  # of the peak, in the store
    start: NDArray[np.int64]  # first row of the window, in the store
    length: NDArray[np.int64]
    activations: NDArray[np.float32]  # [m, WINDOW], zero beyond the length

    def take(self, index: NDArray[np.int64]) -> Windows:
        return Windows._make(column[index] for column in self)


class TopWindows:
    """The `keep` documents with the largest peak, one window each; of equal peaks the one with the smaller row.

    A document that is among the first `keep` of the whole is among them in every part that holds its peak, so parts
    merge exactly.
    """

    def __init__(self, n_units: int, keep: int = KEEP) -> None:
        self.keep = keep
        self.threshold = np.zeros(n_units, dtype=np.float32)  # the weakest kept peak of a full unit
        none, no_values = np.zeros(0, np.int64), np.zeros(0, np.float32)
        # Ordered by unit, then rank.
        self.best = Windows(none, no_values, none, none, none, none, np.zeros((0, WINDOW), np.float32))

    def update(self, batch: Firings) -> None:
        strong = batch.value >= self.threshold[batch.unit]
        unit, row, value = batch.unit[strong], batch.row[strong], batch.value[strong]
        document = batch.rows.documents[row]
        first = _one_a_document(unit, document, value, row)
        unit, row, value, document = unit[first], row[first], value[first], document[first]
        chosen = _strongest(unit, value, row, self.keep)  # within the block, before looking around the peaks
        unit, row, value, document = unit[chosen], row[chosen], value[chosen], document[chosen]
        start, length = batch.rows.windows(row)
        assert batch.codes is not None, "top windows are found in the first pass, where dense codes are at hand"
        activations = _around(batch.codes, unit, start, length)
        base = batch.rows.first
        self._add(Windows(unit, value, document, row + base, start + base, length, activations))

    def merge(self, other: Self) -> None:
        self._add(other.best)

    def state(self) -> dict[str, NDArray[Any]]:
        return self.best._asdict()

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._add(Windows(**state))

    def _add(self, new: Windows) -> None:
        if not len(new.unit):
            return
        both = Windows._make(np.concatenate(columns) for columns in _side_by_side(self.best, new))
        index = _one_a_document(both.unit, both.document, both.value, both.row)
        index = index[_strongest(both.unit[index], both.value[index], both.row[index], self.keep)]
        self.best = both.take(index)
        last = self.ranks() == self.keep - 1
        self.threshold[self.best.unit[last]] = self.best.value[last]

    def ranks(self) -> NDArray[np.int64]:
        return _ranks(self.best.unit)


def _side_by_side(a: Windows, b: Windows) -> Iterable[tuple[NDArray[Any], NDArray[Any]]]:
    return zip(a, b, strict=True)


def _ranks(unit: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, … within each run of equal units."""
    positions = np.arange(len(unit))
    starts = np.concatenate([[True], unit[1:] != unit[:-1]])[: len(unit)]
    ranks: NDArray[np.int64] = positions - np.maximum.accumulate(np.where(starts, positions, 0))
    return ranks


def _one_a_document(
    unit: NDArray[np.int64], document: NDArray[np.int64], value: NDArray[np.float32], row: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Indices of the strongest entry of each (unit, document)."""
    order = np.lexsort((row, -value, document, unit))
    u, d = unit[order], document[order]
    first = np.concatenate([[True], (u[1:] != u[:-1]) | (d[1:] != d[:-1])])[: len(order)]
    kept: NDArray[np.int64] = order[first]
    return kept


def _strongest(
    unit: NDArray[np.int64], value: NDArray[np.float32], row: NDArray[np.int64], keep: int
) -> NDArray[np.int64]:
    """Indices of the `keep` strongest entries of each unit, ordered by unit, then rank."""
    order = np.lexsort((row, -value, unit))
    return order[_ranks(unit[order]) < keep]


def _around(
    codes: NDArray[np.float32], unit: NDArray[np.int64], start: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.float32]:
    """[m, WINDOW] activations of each unit on the rows of its window."""
    offset = np.arange(WINDOW)
    inside = offset < length[:, None]
    row = np.where(inside, start[:, None] + offset, 0)
    return np.where(inside, codes[row, unit[:, None]], np.float32(0))
