"""Rows in the order of what stands before them, so that every n-gram is a run of neighbours and sums are one sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Depth(NamedTuple):
    """The n-grams of one length, numbered along the order."""

    node: NDArray[np.int32]  # [R] of each row in order
    first: Ints  # [nodes] place in order of the first row of each
    counts: Ints  # [nodes, 2] rows by fold; 0 where the n-gram would reach over a border


class Order(NamedTuple):
    row: Ints  # [R] which row stands at each place
    place: Ints  # [R] where each row stands
    fold: NDArray[np.int8]  # [R] by place
    depths: tuple[Depth, ...]


def ordered(columns: Sequence[NDArray[np.int32]], fold: NDArray[np.int8]) -> Order:
    """Rows [R] ordered by the columns; depth i are the runs that agree in columns 0 … i."""
    row = np.lexsort(tuple(columns)[::-1])
    place = np.empty_like(row)
    place[row] = np.arange(len(row))
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
    return Order(row, place, fold, tuple(depths))


def distinct_longer(order: Order, depth: int, longer: int) -> Ints:
    """[nodes at depth]: how many different n-grams of depth `longer` continue each."""
    of = order.depths[depth]
    return np.bincount(of.node[order.depths[longer].first], minlength=len(of.first))


class Sums(NamedTuple):
    """What units do on n-grams of one depth; one entry for each pair with at least `at_least` firings."""

    unit: Ints
    node: Ints
    firings: Ints
    total: NDArray[np.float64]  # [m, 2] Σa by fold


class Swept(NamedTuple):
    """Firings in order of (unit, place)."""

    unit: Ints
    place: Ints
    value: NDArray[np.float64]


def swept(order: Order, unit: Ints, row: Ints, value: NDArray[np.float64]) -> Swept:
    """At most 2^22 firings at once: unit, place and number are sorted as one word of 64 bits."""
    places, numbers = max(len(order.row), 1), max(len(unit), 1)
    word = np.sort((unit * places + order.place[row]) * numbers + np.arange(len(unit)))
    pair, number = np.divmod(word, numbers)
    found, place = np.divmod(pair, places)
    return Swept(found, place, value[number])


def sums(order: Order, firings: Swept, depth: int, *, eligible: NDArray[np.bool_], at_least: int) -> Sums:
    """Over the n-grams of a depth that are `eligible` [nodes]."""
    of = order.depths[depth]
    node = of.node[firings.place]
    kept = np.flatnonzero(eligible[node])
    unit, node = firings.unit[kept], node[kept]
    starts = np.flatnonzero((np.diff(unit, prepend=-1) != 0) | (np.diff(node, prepend=-1) != 0))
    fired = np.diff(starts, append=len(kept))
    if not len(starts):
        return Sums(starts, starts, starts, np.zeros((0, 2)))
    value = firings.value[kept]
    whole = np.add.reduceat(value, starts)
    second = np.add.reduceat(value * order.fold[firings.place[kept]], starts)
    often = fired >= at_least
    total = np.stack([whole - second, second], axis=1)[often]
    return Sums(unit[starts][often], node[starts][often].astype(np.int64), fired[often], total)
