"""The windows in which each unit fires, and one of them for each document.

At most one window of a document stands for a unit, because windows of a document say much the same. It is drawn among
the document's by hash, and stands for all of them: its weight counts how many they are. So the windows that are drawn
represent every window in which the unit fires, not the strongest of each document only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.firings import Firings
from actpipe.analysis.rows import Rows
from actpipe.store.hashing import Words, splitmix64

from .frame import Ints

Floats32 = NDArray[np.float32]


class ByUnit(NamedTuple):
    """Firings in order of unit, then row."""

    unit: Ints
    row: Ints  # in the block
    value: Floats32


class Fired(NamedTuple):
    """One entry for each unit and document in which it fires; arrays of equal length."""

    unit: Ints
    document: Ints
    windows: Ints  # of the document in which the unit fires: the drawn one stands for so many
    word: Words  # by which it was drawn: the least of the document's windows
    row: Ints  # of the drawn window's peak, in the store
    value: Floats32  # at the peak
    top_row: Ints  # the strongest peak of the document, of equal ones the first
    top_value: Floats32

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Fired:
        return Fired._make(column[index] for column in self)


_NONE, _NO_VALUES = np.zeros(0, np.int64), np.zeros(0, np.float32)
NONE = Fired(_NONE, _NONE, _NONE, np.zeros(0, np.uint64), _NONE, _NO_VALUES, _NONE, _NO_VALUES)


def by_unit(batch: Firings, rows: NDArray[np.bool_]) -> ByUnit:
    """The firings on some rows [B]."""
    starts, row, value = batch.on(rows).by_unit
    return ByUnit(np.repeat(np.arange(batch.n_units), np.diff(starts)), row.astype(np.int64), value)


def fired(rows: Rows, firings: ByUnit, word: np.uint64) -> Fired:
    """Of the block's part of each document. `word` salts the draw."""
    if not len(firings.unit):
        return NONE
    tile = rows.tile[firings.row]
    starts = borders(firings.unit, tile)
    peak, value = _largest(firings.value, starts)
    unit, row = firings.unit[starts], firings.row[peak]
    document = rows.documents[row]
    words = drawn_by(unit, tile[starts], word)
    groups = borders(unit, document)
    least = _first(words, np.minimum.reduceat(words, groups), groups)
    top, top_value = _largest(value, groups)
    counts = np.diff(np.append(groups, len(unit)))
    store_row = rows.first + row
    return Fired(
        unit[groups], document[groups], counts, words[least], store_row[least], value[least], store_row[top], top_value
    )


def united(parts: list[Fired]) -> Fired:
    """Entries of the same unit and document made one: what a document's parts in several blocks come to."""
    every = Fired._make(np.concatenate(columns) for columns in zip(NONE, *parts, strict=True))
    if not len(every.unit):
        return every
    every = every.take(np.lexsort((every.row, every.document, every.unit)))
    groups = borders(every.unit, every.document)
    least = _first(every.word, np.minimum.reduceat(every.word, groups), groups)
    top, _ = _largest(every.top_value, groups)  # by row: of equal peaks the first
    return every.take(least)._replace(
        windows=np.add.reduceat(every.windows, groups), top_row=every.top_row[top], top_value=every.top_value[top]
    )


def in_order(group: Ints, word: Words) -> Ints:
    """Indices by group, then word: one sort of the group's bits with as many of the word's as there is room for, and
    the slower sort of both only where that leaves a tie."""
    free = 63 - int(group.max(initial=0)).bit_length()
    both = (group << free) | (word >> np.uint64(64 - free)).astype(np.int64)
    order = np.argsort(both)
    both = both[order]
    return np.lexsort((word, group)) if (both[1:] == both[:-1]).any() else order


def drawn_by(unit: Ints, number: Ints, word: np.uint64) -> Words:
    """A word for each (unit, number): the order of a draw without replacement."""
    return splitmix64(splitmix64(number) ^ splitmix64(unit.astype(np.uint64) + word))


def borders(*columns: NDArray[np.int64]) -> Ints:
    """Where runs of equal entries begin."""
    changes = np.zeros(max(len(columns[0]) - 1, 0), dtype=bool)
    for column in columns:
        changes |= column[1:] != column[:-1]
    return np.flatnonzero(np.concatenate([[True], changes])[: len(columns[0])])


def _largest(values: Floats32, starts: Ints) -> tuple[Ints, Floats32]:
    """Of each run the index of its first largest value, and the value."""
    best = np.maximum.reduceat(values, starts)
    return _first(values, best, starts), best


def _first(values: NDArray[np.generic], wanted: NDArray[np.generic], starts: Ints) -> Ints:
    """Of each run the first index whose value is the wanted one."""
    lengths = np.diff(np.append(starts, len(values)))
    index = np.flatnonzero(values == np.repeat(wanted, lengths))
    run = np.repeat(np.arange(len(starts)), lengths)[index]
    return index[borders(run)]
