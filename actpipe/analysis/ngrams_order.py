"""Rows in the order of what stands before them, so that every n-gram is a run of neighbours and sums are one sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .firings import starts_of

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]


class Depth(NamedTuple):
    """The n-grams of one length, numbered along the order."""

    node: Ints32  # [R] of each row in order
    first: Ints  # [nodes] place in order of the first row of each
    counts: Ints  # [nodes, 2] rows by fold; 0 where the n-gram would reach over a border


class Order(NamedTuple):
    row: Ints32  # [R] which row stands at each place
    depths: tuple[Depth, ...]


def ordered(columns: Sequence[Ints32], fold: NDArray[np.int8]) -> Order:
    """Rows [R] ordered by the columns; depth i are the runs that agree in columns 0 … i."""
    row = np.lexsort(tuple(columns)[::-1])
    fold = fold[row]
    change = np.zeros(len(row), dtype=bool)
    change[:1] = True
    depths = []
    for column in columns:
        along = column[row]
        change = change.copy()
        change[1:] |= along[1:] != along[:-1]
        first = np.flatnonzero(change)
        node = (np.cumsum(change) - 1).astype(np.int32)
        inside = along[first] >= 0
        second = np.bincount(node, weights=fold, minlength=len(first)).astype(np.int64)
        total = np.diff(first, append=len(row))
        counts = np.stack([total - second, second], axis=1) * inside[:, None]
        depths.append(Depth(node, first, counts))
    return Order(row.astype(np.int32), tuple(depths))


def distinct_longer(order: Order, depth: int, longer: int) -> Ints:
    """[nodes at depth]: how many different n-grams of depth `longer` continue each."""
    of = order.depths[depth]
    return np.bincount(of.node[order.depths[longer].first], minlength=len(of.first))


class ByRow(NamedTuple):
    """Firings on the rows of a text, in order of row."""

    starts: Ints  # [R + 1]: those of row r are starts[r]:starts[r + 1]
    unit: Ints32  # [m]
    value: NDArray[np.float32]  # [m]


class Swept(NamedTuple):
    """Firings in order of (unit, place)."""

    starts: Ints  # [n + 1]: those of unit u are starts[u]:starts[u + 1]
    place: Ints32  # [m]
    value: NDArray[np.float32]  # [m]


def swept(row: Ints32, firings: ByRow, n_units: int) -> Swept:
    """`row` [R]: which stands at each place."""
    return Swept(*_swept(row, *firings, n_units))


@compiled
def _swept(row: Any, starts: Any, unit: Any, value: Any, n_units: int) -> Any:
    """A counting sort."""
    first = starts_of(unit, n_units)
    at = first[:-1].copy()
    places, values = np.empty(len(unit), np.int32), np.empty(len(unit), np.float32)
    for place in range(len(row)):
        for i in range(starts[row[place]], starts[row[place] + 1]):
            u = unit[i]
            places[at[u]], values[at[u]] = place, value[i]
            at[u] += 1
    return first, places, values
