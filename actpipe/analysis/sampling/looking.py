"""The second pass: what units do on the windows that were chosen in the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.analysis.firings import Firings
from actpipe.analysis.rows import WINDOW

from .frame import Ints, State, Uniform, windows
from .near_misses import Candidates
from .strata import Drawn
from .top import Peaks


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the second pass looks for, the same in all its parts: the activations of units on their windows, whether
    units fire on windows drawn for their neighbours, and all that fires on the shared windows."""

    context: int
    skip_first: int
    listed: NDArray[np.bool_]  # [n] units whose windows are wanted; those of others are read only by neighbours
    drawn: Drawn
    top: Peaks
    suspects: Candidates
    shared: Uniform

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class Looking:
    """Everything is kept as a list of firings with the number of the window, so parts are joined in any order.

    Windows of units are numbered: those drawn, then the top ones.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        row = np.concatenate([question.drawn.row, question.top.row])
        self._order = np.argsort(row, kind="stable")
        self._row = row[self._order]
        self._unit = np.concatenate([question.drawn.unit, question.top.unit])[self._order]
        place = np.empty_like(self._order)
        place[self._order] = np.arange(len(row))
        of_suspect = place[question.suspects.drawn]
        self._suspects = np.argsort(of_suspect, kind="stable")
        self._of_suspect = of_suspect[self._suspects]
        self._shared = np.argsort(question.shared.start, kind="stable")
        none = np.zeros(0, np.int64)
        self._found: dict[str, list[NDArray[Any]]] = {
            "window": [none],  # numbers of the windows that were seen, their first rows in the store, their lengths
            "start": [none],
            "length": [none],
            "place": [none],  # of each firing in its unit's window: number · WINDOW + index
            "value": [np.zeros(0, np.float32)],
            "fires": [none],  # suspects that do
            "shared": [none],  # unit · shared windows + window, where the unit fires in it
        }

    def update(self, batch: Firings) -> None:
        asked, rows = self.question, batch.rows
        first, stop = np.searchsorted(self._row, [rows.first, rows.first + len(rows.tokens)])
        start, length = windows(rows, self._row[first:stop] - rows.first, asked.context, asked.skip_first)
        self._look_at_own(batch, slice(first, stop), start, length)
        low, high = np.searchsorted(self._of_suspect, [first, stop])
        suspects, window = self._suspects[low:high], self._of_suspect[low:high] - first
        fires = _fires(asked.suspects.unit[suspects], start[window], length[window], batch.starts, batch.unit)
        self._add("fires", suspects[fires])
        self._look_at_shared(batch)

    def merge(self, other: Self) -> None:
        for name, arrays in other._found.items():
            self._found[name].extend(arrays)

    def state(self) -> State:
        return {name: self.all(name) for name in self._found}

    def restore(self, state: State) -> None:
        for name, values in state.items():
            self._add(name, values)

    def all(self, name: str) -> NDArray[Any]:
        self._found[name] = [np.concatenate(self._found[name])]
        return self._found[name][0]

    def _add(self, name: str, values: NDArray[Any]) -> None:
        self._found[name].append(values)

    def _look_at_own(self, batch: Firings, here: slice, start: Ints, length: Ints) -> None:
        number, unit = self._order[here], self._unit[here]
        self._add("window", number)
        self._add("start", start + batch.rows.first)
        self._add("length", length)
        mine = self.question.listed[unit]
        number, start = number[mine], start[mine]
        window, firing = _firings_in(unit[mine], start, length[mine], batch.starts, batch.unit)
        self._add("place", number[window] * WINDOW + batch.row[firing] - start[window])
        self._add("value", batch.value[firing])

    def _look_at_shared(self, batch: Firings) -> None:
        """Every unit is asked for."""
        rows, shared = batch.rows, self.question.shared
        low, high = np.searchsorted(shared.start[self._shared], [rows.first, rows.first + len(rows.tokens)])
        here = self._shared[low:high]
        start, length = shared.start[here] - rows.first, shared.length[here]
        window, unit = _units_in(start, length, batch.starts, batch.unit, batch.n_units)
        self._add("shared", unit * len(self._shared) + here[window])


@compiled
def _firings_in(unit: Any, start: Any, length: Any, starts: Any, units: Any) -> Any:
    """Of one unit in one window each: the number of the window and that of the firing, in order."""
    window, firing = np.empty(length.sum(), np.int64), np.empty(length.sum(), np.int64)
    m = 0
    for w in range(len(unit)):
        for row in range(start[w], start[w] + length[w]):
            i = _firing(unit[w], starts[row], starts[row + 1], units)
            if i >= 0:
                window[m], firing[m] = w, i
                m += 1
    return window[:m].copy(), firing[:m].copy()


@compiled
def _fires(unit: Any, start: Any, length: Any, starts: Any, units: Any) -> Any:
    """Whether one unit does in one window each."""
    found = np.zeros(len(unit), np.bool_)
    for w in range(len(unit)):
        for row in range(start[w], start[w] + length[w]):
            if _firing(unit[w], starts[row], starts[row + 1], units) >= 0:
                found[w] = True
                break
    return found


@compiled
def _firing(unit: Any, low: Any, high: Any, units: Any) -> Any:
    """Which of the firings from `low` to `high` of a row is the unit's; −1: none. They are in order of units."""
    end = high
    while low < high:
        middle = (low + high) // 2
        if units[middle] < unit:
            low = middle + 1
        else:
            high = middle
    return low if low < end and units[low] == unit else -1


@compiled
def _units_in(start: Any, length: Any, starts: Any, units: Any, n_units: int) -> Any:
    """All that fire in each window, once: number of the window, unit."""
    most = 0
    for w in range(len(start)):
        most += starts[start[w] + length[w]] - starts[start[w]]
    window, unit = np.empty(most, np.int64), np.empty(most, np.int64)
    last = np.full(n_units, -1)  # window in which each unit was seen
    m = 0
    for w in range(len(start)):
        for i in range(starts[start[w]], starts[start[w] + length[w]]):
            if last[units[i]] != w:
                last[units[i]] = w
                window[m], unit[m] = w, units[i]
                m += 1
    return window[:m].copy(), unit[:m].copy()
