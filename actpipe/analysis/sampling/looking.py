"""The second pass: what units do on the windows that were chosen in the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.firings import Firings
from actpipe.analysis.rows import WINDOW

from .fired import ByUnit, borders, by_unit
from .frame import Ints, State, Uniform, eligible, windows
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
        self._look_at_shared(batch)
        asked, rows = self.question, batch.rows
        good = eligible(rows, asked.context, asked.skip_first)
        found = batch.once(f"by unit {asked.skip_first}", lambda: by_unit(batch, good))
        key = found.unit * len(rows.tokens) + found.row
        first, stop = np.searchsorted(self._row, [rows.first, rows.first + len(rows.tokens)])
        start, length = windows(rows, self._row[first:stop] - rows.first, asked.context, asked.skip_first)
        self._look_at_own(key, found, len(rows.tokens), slice(first, stop), start, length)
        self._add("start", start + rows.first)
        low, high = np.searchsorted(self._of_suspect, [first, stop])
        suspects, window = self._suspects[low:high], self._of_suspect[low:high] - first
        keys = asked.suspects.unit[suspects] * len(rows.tokens) + start[window]
        fires = np.searchsorted(key, keys + length[window]) > np.searchsorted(key, keys)
        self._add("fires", suspects[fires])

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

    def _look_at_own(self, key: Ints, found: ByUnit, n_rows: int, here: slice, start: Ints, length: Ints) -> None:
        number = self._order[here]
        self._add("window", number)
        self._add("length", length)
        mine = self.question.listed[self._unit[here]]
        number, start, length = number[mine], start[mine], length[mine]
        first = self._unit[here][mine] * n_rows + start
        index, firing = _ranges(np.searchsorted(key, first), np.searchsorted(key, first + length))
        self._add("place", number[index] * WINDOW + found.row[firing] - start[index])
        self._add("value", found.value[firing])

    def _look_at_shared(self, batch: Firings) -> None:
        """Firings are in order of their rows, and every unit is asked for: a range of them for each window."""
        rows, shared = batch.rows, self.question.shared
        starts = shared.start[self._shared]
        low, high = np.searchsorted(starts, [rows.first, rows.first + len(rows.tokens)])
        here = self._shared[low:high]
        start = shared.start[here] - rows.first
        low, high = np.searchsorted(batch.row, start), np.searchsorted(batch.row, start + shared.length[here])
        index, firing = _ranges(low, high)
        cells = np.sort(batch.unit[firing] * len(self._shared) + here[index])
        self._add("shared", cells[borders(cells)])


def _ranges(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Every number of the ranges [low, high), and which range it is of."""
    lengths = high - low
    index = np.repeat(np.arange(len(low)), lengths)
    return index, np.arange(len(index)) + np.repeat(low - (np.cumsum(lengths) - lengths), lengths)
