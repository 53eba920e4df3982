"""The rules of a unit, one after another, the one that takes away most squared error first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from actpipe.analysis.compiled import compiled

from .rule_candidates import LEAST_GAIN, Base, Candidates, Floats, Ints, gain

_MOST_CHOSEN = 48  # some turn out to say nothing new (rule_fitting) before the 32 are numbered
_CONSIDERED = 128  # candidates of a unit, those with most gain by themselves


class Choice(NamedTuple):
    candidate: Ints  # [K] index into the candidates, in order of unit and position
    position: Ints  # [K] 0 for the first rule of its unit
    mean: Floats  # [K] of the activation on the rows that were left to the rule when it was chosen


def choose(of: Candidates, base: Base) -> Choice:
    """Greedy, until a rule would gain less than LEAST_GAIN of the unit's spread.

    A rule owns the rows that no longer or higher rule chosen before owns; what it would say there is compared with
    what the list says without it. Two rules of which neither contains the other are taken to share no rows: exact but
    for a rule on the row's own token beside one on what stands before it. What a rule then says twice is found when
    the lists are executed.
    """
    considered, starts = _most_promising(of)
    unit = of.unit[considered[starts[:-1]]]
    some = Candidates._make(array[considered] for array in of)
    start = base.rows[unit], base.total[unit], LEAST_GAIN * base.spread[unit]
    chosen, mean = _greedy(starts, some.fields, some.kind, some.rows, some.total, some.trust, *start, _MOST_CHOSEN)
    which, position = np.nonzero(chosen >= 0)
    return Choice(considered[chosen[which, position]], position, mean[which, position])


def _most_promising(of: Candidates) -> tuple[Ints, Ints]:
    """The candidates with most gain in order of unit and gain, and where those of each unit start, with the end. Of
    equal ones those that ask for less."""
    asked = (of.fields >= 0).sum(axis=1)
    order = np.lexsort((*of.fields.T, of.kind, asked, -of.gain, of.unit))
    first, count = np.unique(of.unit[order], return_index=True, return_counts=True)[1:]
    place = np.arange(len(order)) - np.repeat(first, count)
    kept = np.minimum(count, _CONSIDERED)
    return order[place < _CONSIDERED], np.append(0, np.cumsum(kept))


@compiled
def _greedy(
    starts: Any,
    fields: Any,
    kind: Any,
    all_rows: Any,
    all_total: Any,
    trust: Any,
    rest_rows: Any,
    rest_total: Any,
    least: Any,
    most: int,
) -> Any:
    """[units, most] the candidates that were chosen, −1: no more, and their means. Arrays of candidates are in order of
    unit; `rest_rows`, `rest_total` [units, 2] are of the rows that no rule owns, by fold."""
    chosen, means = np.full((len(starts) - 1, most), -1, np.int64), np.zeros((len(starts) - 1, most))
    for u in range(len(starts) - 1):
        here = slice(starts[u], starts[u + 1])
        rows, total = all_rows[here].copy(), all_total[here].copy()  # that the rules chosen before have left
        speaker = np.full(len(rows), -1)  # kind of the rule that speaks in place of each; −1: the mean of the rest does
        said, free = np.zeros((len(rows), 2)), np.ones(len(rows), np.bool_)
        rest = np.zeros(2)
        for position in range(most):
            _mean(rest_rows[u], rest_total[u], rest)
            for i in range(len(rows)):
                if speaker[i] < 0:
                    said[i] = rest
            best, most_gained = -1, -np.inf
            for i in range(len(rows)):
                if free[i] and rows[i].sum() > 0:
                    gained = gain(rows[i], total[i], trust[starts[u] + i], said[i])
                    if gained > most_gained:
                        best, most_gained = i, gained
            if best < 0 or not most_gained >= least[u]:
                break
            chosen[u, position], means[u, position] = starts[u] + best, total[best].sum() / rows[best].sum()
            if speaker[best] < 0:
                rest_rows[u] -= rows[best]
                rest_total[u] -= total[best]
            free[best] = False
            _take(best, fields[here], kind[here], rows, total, said, speaker)
    return chosen, means


@compiled
def _mean(rows: Any, total: Any, mean: Any) -> None:
    """By fold; of both where a fold has no rows."""
    whole = total.sum() / max(rows.sum(), 1)
    for fold in range(2):
        mean[fold] = total[fold] / rows[fold] if rows[fold] > 0 else whole


@compiled
def _take(best: int, fields: Any, kind: Any, rows: Any, total: Any, said: Any, speaker: Any) -> None:
    """The rule speaks for the candidates that it contains, and takes its rows from those that contain it."""
    its_rows, its_total, its_mean = rows[best].copy(), total[best].copy(), said[best].copy()
    for fold in range(2):
        # Not shrunk: else longer n-grams of the same mean would seem to add what shrinking has taken away.
        if its_rows[fold] > 0:
            its_mean[fold] = its_total[fold] / its_rows[fold]
    for i in range(len(rows)):
        within, around = True, True
        for column in range(fields.shape[1]):
            equal = fields[i, column] == fields[best, column]
            within &= equal or fields[best, column] == -1
            around &= equal or fields[i, column] == -1
        if within and speaker[i] < kind[best]:
            said[i], speaker[i] = its_mean, kind[best]
        if around:
            for fold in range(2):  # where rules of the two sides share rows, a row may be taken twice
                rows[i, fold] = max(rows[i, fold] - its_rows[fold], 0)
                total[i, fold] = max(total[i, fold] - its_total[fold], 0)
