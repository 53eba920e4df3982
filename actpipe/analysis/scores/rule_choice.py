"""The rules of a unit, one after another, the one that takes away most squared error first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rule_candidates import LEAST_GAIN, Base, Candidates, Floats, Ints, gain

_MOST_CHOSEN = 48  # some turn out to say nothing new (rule_fitting) before the 32 are numbered
_CONSIDERED = 128  # candidates of a unit, those with most gain by themselves


class Choice(NamedTuple):
    candidate: Ints  # [K] index into the candidates, in order of unit and position
    position: Ints  # [K] 0 for the first rule of its unit
    mean: Floats  # [K] of the activation on the rows that were left to the rule when it was chosen


def choose(of: Candidates, base: Base) -> Choice:
    """Greedy for all units at once, until a rule would gain less than LEAST_GAIN of the unit's spread.

    A rule owns the rows that no longer or higher rule chosen before owns; what it would say there is compared with
    what the list says without it. Two rules of which neither contains the other are taken to share no rows: exact but
    for a rule on the row's own token beside one on what stands before it. What a rule then says twice is found when
    the lists are executed.
    """
    board = _Board(of, base)
    found = []
    for position in range(_MOST_CHOSEN):
        best = board.best()
        if not len(best.unit):
            break
        mean = board.total[best.place, best.column].sum(axis=1) / board.rows[best.place, best.column].sum(axis=1)
        found.append((board.index[best.place, best.column], np.full(len(best.unit), position), mean, best.unit))
        board.take(best)
    if not found:
        return Choice(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    candidate, positions, means, unit = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    order = np.lexsort((positions, unit))
    return Choice(candidate[order], positions[order], means[order])


class _Best(NamedTuple):
    place: Ints  # row of the board
    unit: Ints
    column: Ints


class _Board:
    """[A, C] candidates of the units that still choose, most promising first; −1 in `index` where there is none."""

    def __init__(self, of: Candidates, base: Base) -> None:
        index, self.unit = _most_promising(of)
        self.index = index
        there = index >= 0
        at = np.where(there, index, 0)
        self.fields = np.where(there[..., None], of.fields[at], -2)  # contains nothing, is contained in nothing
        self.rows = of.rows[at] * there[..., None]
        self.total = of.total[at] * there[..., None]
        self.trust, self.kind = of.trust[at], of.kind[at]
        self.rest = Base(*(array[self.unit] for array in base))  # rows that no rule owns
        self.said = np.repeat(self.rest.mean[:, None, :], index.shape[1], axis=1)  # without the candidate
        self.speaker = np.full(index.shape, -1)  # kind of the rule that says it, −1: none, but the mean of the rest
        self.free = there

    def best(self) -> _Best:
        """Of each unit that gains enough; the others leave the board."""
        free = self.free & (self.rows.sum(axis=-1) > 0)
        gained = np.where(free, gain(self.rows, self.total, self.trust, self.said), -np.inf)
        column = gained.argmax(axis=1) if gained.size else np.zeros(len(gained), np.int64)
        least = LEAST_GAIN * self.rest.spread
        going = gained[np.arange(len(column)), column] >= least if gained.size else np.zeros(len(column), bool)
        if not going.all():
            for name in ("index", "unit", "fields", "rows", "total", "trust", "kind", "said", "speaker", "free"):
                setattr(self, name, getattr(self, name)[going])
            self.rest = Base(*(array[going] for array in self.rest))
            column = column[going]
        return _Best(np.arange(len(column)), self.unit, column)

    def take(self, best: _Best) -> None:
        at = best.place, best.column
        fields, rows, total = self.fields[at][:, None, :], self.rows[at], self.total[at]
        fresh = (self.speaker[at] < 0)[:, None]
        # Not shrunk: else longer n-grams of the same mean would seem to add what shrinking has taken away.
        mean = np.divide(total, rows, out=self.said[at].copy(), where=rows > 0)
        equal = self.fields == fields
        within = (equal | (fields == -1)).all(axis=-1)  # candidates that the rule contains
        around = (equal | (self.fields == -1)).all(axis=-1)  # candidates that contain the rule
        spoken = within & (self.speaker < self.kind[at][:, None])
        self.said = np.where(spoken[..., None], mean[:, None, :], self.said)
        self.speaker = np.where(spoken, self.kind[at][:, None], self.speaker)
        self.rest = self.rest._replace(rows=self.rest.rows - fresh * rows, total=self.rest.total - fresh * total)
        # Where rules of the two sides share rows, the same row may be taken twice: never below none.
        self.rows = np.maximum(self.rows - around[..., None] * rows[:, None, :], 0)
        self.total = np.maximum(self.total - around[..., None] * total[:, None, :], 0)
        self.said = np.where((self.speaker < 0)[..., None], self.rest.mean[:, None, :], self.said)
        self.free[at] = False


def _most_promising(of: Candidates) -> tuple[Ints, NDArray[np.int64]]:
    """[A, C] index of the candidates with most gain, and [A] their units. Of equal ones those that ask for less."""
    asked = (of.fields >= 0).sum(axis=1)
    order = np.lexsort((*of.fields.T, of.kind, asked, -of.gain, of.unit))
    unit = of.unit[order]
    units, first, count = np.unique(unit, return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(first, count)
    kept = place < _CONSIDERED
    index = np.full((len(units), min(_CONSIDERED, int(count.max(initial=0)))), -1)
    index[np.repeat(np.arange(len(units)), count)[kept], place[kept]] = order[kept]
    return index, units
