"""The strongest contexts of each unit, with the activations around the peak, found in the same pass as everything else.

A window lies inside its sequence and blocks are whole sequences, so the activations of all its tokens are at hand when
the peak is seen: no second pass.
State: `keep` · 164 bytes a unit (2.6 kB at 16 windows).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
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
        self.n_units, self.keep = n_units, keep
        none, no_values = np.zeros(0, np.int64), np.zeros(0, np.float32)
        # Ordered by unit, then rank.
        self.best = Windows(none, no_values, none, none, none, none, np.zeros((0, WINDOW), np.float32))

    def update(self, batch: Firings) -> None:
        starts, rows, values = batch.by_unit
        unit, row, value = _peaks(starts, rows, values, batch.rows.documents, self.keep)
        start, length = batch.rows.windows(row)
        activations = _around(starts, rows, values, unit, start, length)
        base = batch.rows.first
        document = batch.rows.documents[row]
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
        if not len(self.best.unit):
            self.best = new
            return
        both = Windows._make(np.concatenate(columns) for columns in _side_by_side(self.best, new))
        units = np.arange(self.n_units + 1)
        mine = np.searchsorted(self.best.unit, units)
        theirs = np.searchsorted(new.unit, units) + len(self.best.unit)
        self.best = both.take(_strongest(mine, theirs, both.value, both.row, both.document, self.keep))

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


@compiled
def _peaks(starts: Any, row: Any, value: Any, document: Any, keep: int) -> Any:
    """Of each unit the `keep` documents with the largest peak, ordered by unit, then rank."""
    n = len(starts) - 1
    units, peaks, values = np.empty(n * keep, np.int64), np.empty(n * keep, np.int64), np.empty(n * keep, np.float32)
    first, last = 0, 0  # the unit's own: units[first:last]
    for u in range(n):
        first, i = last, starts[u]
        while i < starts[u + 1]:
            best, here = i, document[row[i]]
            while i < starts[u + 1] and document[row[i]] == here:  # a run of one document
                if value[i] > value[best]:
                    best = i
                i += 1
            if last - first == keep and value[best] <= values[last - 1]:
                continue  # of equal peaks the smaller row, which came before
            at = last
            for k in range(first, last):
                if document[peaks[k]] == here:  # another run of the same document
                    at = k
            if at < last and values[at] >= value[best]:
                continue
            if at == last and last - first < keep:
                last += 1
            at = min(at, last - 1)
            while at > first and values[at - 1] < value[best]:
                peaks[at], values[at] = peaks[at - 1], values[at - 1]
                at -= 1
            peaks[at], values[at] = row[best], value[best]
        units[first:last] = u
    return units[:last].copy(), peaks[:last].copy(), values[:last].copy()


@compiled
def _around(starts: Any, row: Any, value: Any, unit: Any, start: Any, length: Any) -> Any:
    """[m, WINDOW] activations of each unit on the rows of its window."""
    found = np.zeros((len(unit), WINDOW), np.float32)
    for w in range(len(unit)):
        low, high = starts[unit[w]], starts[unit[w] + 1]
        i = low + np.searchsorted(row[low:high], start[w])
        while i < high and row[i] < start[w] + length[w]:
            found[w, row[i] - start[w]] = value[i]
            i += 1
    return found


@compiled
def _strongest(mine: Any, theirs: Any, value: Any, row: Any, document: Any, keep: int) -> Any:
    """Two lists of windows, each ordered by unit, then rank, and those of unit u in mine[u]:mine[u + 1] and
    theirs[u]:theirs[u + 1]: indices of the `keep` strongest of both together, one a document."""
    n = len(mine) - 1
    index, first, last = np.empty(n * keep, np.int64), 0, 0
    for u in range(n):
        first, i, j = last, mine[u], theirs[u]
        while (i < mine[u + 1] or j < theirs[u + 1]) and last - first < keep:
            if j == theirs[u + 1]:
                stronger = True
            elif i == mine[u + 1]:
                stronger = False
            else:
                stronger = value[i] > value[j] or (value[i] == value[j] and row[i] < row[j])
            if stronger:
                candidate = i
                i += 1
            else:
                candidate = j
                j += 1
            new = True
            for k in range(first, last):
                new = new and document[index[k]] != document[candidate]
            if new:
                index[last] = candidate
                last += 1
    return index[:last].copy()
