"""The active codes of a part of the rows, as a list: what every accumulator consumes.

Between 1 % and 5 % of codes are active, so everything after the encoder costs as much as there are firings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .bits import lowest
from .compiled import compiled
from .rows import Rows

T = TypeVar("T")
Ints32 = NDArray[np.int32]
Floats32 = NDArray[np.float32]


class ByUnit(NamedTuple):
    """Firings in order of unit, then row."""

    starts: NDArray[np.int64]  # [n + 1]: those of unit u are starts[u]:starts[u + 1]
    row: Ints32  # [m], index into the block
    value: Floats32  # [m]


@dataclass(frozen=True, kw_only=True)
class Firings:
    """Ordered by row, then unit. A code is positive here; what is not listed is zero.

    TRAP: units and rows have 32 bits. Make them 64 before they are multiplied.
    """

    rows: Rows
    n_units: int
    unit: Ints32  # [m]
    row: Ints32  # [m], index into the block
    value: Floats32  # [m], all > 0
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, kind in (("unit", np.int32), ("row", np.int32), ("value", np.float32)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), kind))

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returns, made once a block and set of units however many scores ask. `name`: the asker's own."""
        if name not in self._made:
            self._made[name] = make()
        found: T = self._made[name]
        return found

    @property
    def starts(self) -> NDArray[np.int64]:
        """[B + 1]: the firings of row t are starts[t]:starts[t + 1]."""
        return self.once("starts", lambda: starts_of(self.row, len(self.rows.tokens)))

    @property
    def by_unit(self) -> ByUnit:
        return self.once("by unit", lambda: ByUnit(*_by_unit(self.unit, self.row, self.value, self.n_units)))

    def of(self, split: int) -> Firings:
        """Those on rows of one split, with the same `rows`; found once a block however many scores ask."""
        return self.once(f"split {split}", lambda: self.on(self.rows.split == split))

    def on(self, rows: NDArray[np.bool_]) -> Firings:
        """Those on some rows [B]."""
        return self._where(self.row, rows)

    def by(self, units: NDArray[np.bool_]) -> Firings:
        """Those of some units [n]."""
        return self._where(self.unit, units)

    def _where(self, number: Ints32, wanted: NDArray[np.bool_]) -> Firings:
        unit, row, value = _where(number, wanted, self.unit, self.row, self.value)
        return Firings(rows=self.rows, n_units=self.n_units, unit=unit, row=row, value=value)


def firings(rows: Rows, codes: NDArray[np.float32]) -> Firings:
    """`codes` [B, n]."""
    unit, row, value, _ = active(rows, codes, 0)
    return Firings(rows=rows, n_units=codes.shape[1], unit=unit, row=row, value=value)


def joined(rows: Rows, n_units: int, pieces: Sequence[tuple[Ints32, Ints32, Floats32, int]]) -> Firings:
    """`pieces`: what `active` found of consecutive runs of rows that make up `rows`."""
    unit, row, value = (np.concatenate([piece[i] for piece in pieces]) for i in range(3))
    return Firings(rows=rows, n_units=n_units, unit=unit, row=row, value=value)


def active(rows: Rows, codes: NDArray[np.float32], first: int) -> tuple[Ints32, Ints32, Floats32, int]:
    """`codes` [some rows, n] of the block's rows from `first` on: unit, row in the block, and value of those above zero
    on rows that count, and how many are NaN or infinite, which count as zero."""
    counted = rows.counted[first : first + len(codes)]
    found, bad = _count(codes, counted)
    unit, row, value = (np.empty(found, kind) for kind in (np.int32, np.int32, np.float32))
    _list(codes, counted, first, unit, row, value)
    return unit, row, value, bad


@compiled
def _count(codes: Any, counted: Any) -> Any:
    found, bad = 0, 0
    for t in range(len(codes)):
        if counted[t]:
            line = codes[t]
            positive, infinite, other = 0, 0, 0
            for u in range(len(line)):
                positive += line[u] > 0
                infinite += line[u] == np.inf
                other += (line[u] != line[u]) | (line[u] == -np.inf)
            found += positive - infinite
            bad += infinite + other
    return found, bad


@compiled
def _list(codes: Any, counted: Any, first: int, unit: Any, row: Any, value: Any) -> None:
    """Codes are looked at 8 at a time, a byte each; most have none and are passed over together."""
    m, n = 0, codes.shape[1]
    fires = np.zeros(-(-n // 8) * 8, np.uint8)
    for t in range(len(codes)):
        if not counted[t]:
            continue
        line = codes[t]
        for u in range(n):
            fires[u] = (line[u] > 0) & (line[u] < np.inf)
        for run, left in enumerate(fires.view(np.uint64)):
            while left:
                place = 8 * run + (np.int64(lowest(left)) >> 3)
                unit[m], row[m], value[m] = place, first + t, line[place]
                m += 1
                left &= left - np.uint64(1)


@compiled
def starts_of(number: Any, n: int) -> Any:
    """[n + 1]: where what has each number begins once all is in order of its number: the half of a counting sort."""
    starts = np.zeros(n + 1, np.int64)
    for u in number:
        starts[u + 1] += 1
    for u in range(n):
        starts[u + 1] += starts[u]
    return starts


@compiled
def _by_unit(unit: Any, row: Any, value: Any, n: int) -> Any:
    """A counting sort."""
    starts = starts_of(unit, n)
    place = starts[:-1].copy()
    rows, values = np.empty(len(row), np.int32), np.empty(len(row), np.float32)
    for i in range(len(unit)):
        at = place[unit[i]]
        rows[at], values[at] = row[i], value[i]
        place[unit[i]] = at + 1
    return starts, rows, values


@compiled
def _where(number: Any, wanted: Any, unit: Any, row: Any, value: Any) -> Any:
    m = 0
    for k in number:
        m += wanted[k]
    units, rows, values = np.empty(m, np.int32), np.empty(m, np.int32), np.empty(m, np.float32)
    m = 0
    for i in range(len(number)):
        if wanted[number[i]]:
            units[m], rows[m], values[m] = unit[i], row[i], value[i]
            m += 1
    return units, rows, values
