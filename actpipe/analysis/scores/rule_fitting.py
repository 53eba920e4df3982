"""Rule lists from firings on the explain split: candidates, choice, weights, and when a prediction counts as firing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.ngrams import FIELDS, KINDS, token_classes
from actpipe.analysis.splits import EXPLAIN

from .rule_candidates import LEAST_GAIN, Candidates, Orders, base, candidates, summed
from .rule_choice import choose
from .rule_lists import BUDGETS, MAIN, MOST_RULES, Execution, Floats, Ints, RuleLists
from .rule_tallies import Measured, Units, best_threshold, tally
from .text_rows import text_of
from .thinned_firings import Kept, ThinnedFirings

_FIRINGS = 1 << 22  # fitted together: about 400 MB
_UNITS = 4096  # fitted together: [units, 128] tables of candidates, about 150 MB


class Fitted(NamedTuple):
    lists: RuleLists
    weight: Floats  # [BUDGETS, K] what each rule predicts; NaN beyond the budget
    otherwise: Floats  # [BUDGETS, n] predicted where no rule speaks: the unit's mean over such rows
    threshold: Floats  # [BUDGETS, n] a rule that predicts at least this predicts firing
    share: Floats  # [K] of the unit's activation that the rule owns at the main budget, on the explain split
    firings: Ints  # [n] fitted on
    rows: Ints  # [n] fitted on


def fit(kept: ThinnedFirings, corpus: Corpus) -> Fitted:
    n, seed = len(kept.floor), kept.seed
    otherwise, threshold = np.zeros((len(BUDGETS), n)), np.full((len(BUDGETS), n), np.inf)
    n_rows, lists, weights, shares = np.zeros(n, np.int64), [], [], []
    classes = classes_of(corpus)
    for floor, units, firings in kept.groups():
        text = text_of(corpus, EXPLAIN, seed).from_level(floor)
        n_rows[units] = len(text.row)
        if not len(text.row) or not len(firings.unit):
            continue
        orders = Orders.of(text, classes)
        row = np.searchsorted(text.row, firings.row)
        chosen = _joined([_chosen(orders, text.fold, part) for part in _pieces(units, firings, row)])
        whole = _units(firings, len(text.row), n)
        chosen = _telling(chosen, orders, firings, row, whole)
        execution = Execution(chosen, n)
        measured = Measured(execution)
        measured.update(orders.fields, firings.unit.astype(np.int64), row, firings.value)
        weight, rest, limit = _weighed(execution, measured, whole)
        otherwise[:, units], threshold[:, units] = rest[:, units], limit[:, units]
        lists.append(chosen)
        weights.append(weight)
        shares.append(measured.total[MAIN] / whole.total[chosen.unit])
    found = _in_order(lists, weights, shares)
    return Fitted(found[0], found[1], otherwise, threshold, found[2], kept.firings(), n_rows)


def classes_of(corpus: Corpus) -> NDArray[np.int32] | None:
    return None if corpus.texts is None else token_classes(corpus.texts, corpus.vocabulary)


class _Piece(NamedTuple):
    units: Ints
    unit: Ints  # [m] place in `units`
    row: Ints
    value: Floats  # relative to the unit's mean where it fires: gains compare within a unit only


def _pieces(units: Ints, firings: Kept, row: Ints) -> Iterator[_Piece]:
    """A few units at a time."""
    count = np.bincount(firings.unit, minlength=int(units[-1]) + 1)[units]
    size = np.bincount(firings.unit, weights=firings.value, minlength=int(units[-1]) + 1)[units] / np.maximum(count, 1)
    group = np.maximum(np.cumsum(count) // _FIRINGS, np.arange(len(units)) // _UNITS)
    place = np.zeros(int(units[-1]) + 1, dtype=np.int64)
    for each in np.unique(group):
        mine = np.flatnonzero(group == each)
        place[units[mine]] = np.arange(len(mine))
        here = np.flatnonzero((firings.unit >= units[mine[0]]) & (firings.unit <= units[mine[-1]]))
        unit = place[firings.unit[here]]
        value = firings.value[here].astype(np.float64) / size[mine][unit]
        yield _Piece(units[mine], unit, row[here], value)


def _chosen(orders: Orders, fold: NDArray[np.int8], piece: _Piece) -> RuleLists:
    start = base(orders.rows, fold[piece.row], piece.unit, piece.value, len(piece.units))
    of: Candidates = candidates(orders, start, piece.unit, piece.row, piece.value)
    choice = choose(of, start)
    which = choice.candidate
    return RuleLists(
        piece.units[of.unit[which]], choice.position, of.kind[which], of.fields[which], of.trust[which], choice.mean
    )


def _telling(of: RuleLists, orders: Orders, firings: Kept, row: Ints, whole: Units) -> RuleLists:
    """Without rules that say nothing new once all are executed, and numbered up to MOST_RULES.

    With m and n the mean and the rows of a rule and of what would speak in its place, nn'/(n + n')·(m − m')² is the
    squared error that the two as one would add: by chance as much as one row varies, twice its standard deviation in
    means are asked for.
    """
    everything = int(of.position.max(initial=0)) + 1
    execution = Execution(of, len(whole.rows), (everything,))
    measured = Measured(execution)
    measured.update(orders.fields, firings.unit.astype(np.int64), row, firings.value)
    (rows,), (total,) = execution.owned_rows(measured.patterns), measured.total
    rest_rows, rest_total = _rest(of, rows, total, whole)
    fallback = execution.fallbacks(everything)
    has = (fallback >= 0) & (rows[fallback] > 0) if len(rows) else fallback >= 0
    others = np.where(has, rows[fallback], rest_rows[of.unit]) if len(rows) else rows
    other_total = np.where(has, total[fallback], rest_total[of.unit]) if len(rows) else total
    gap = total / np.maximum(rows, 1) - other_total / np.maximum(others, 1)
    added = rows * others / np.maximum(rows + others, 1) * gap**2
    spread = whole.squares - whole.total**2 / np.maximum(whole.rows, 1)
    fired = np.maximum(whole.firings, 1)
    varies = np.maximum(whole.squares / fired - (whole.total / fired) ** 2, 0)  # of a firing
    kept = np.flatnonzero((added >= np.maximum(LEAST_GAIN * spread, 4 * varies)[of.unit]) & (rows > 0))
    unit = of.unit[kept]
    position = np.arange(len(kept)) - np.searchsorted(unit, unit)
    few = position < MOST_RULES
    return _taken(of, kept[few])._replace(position=position[few])


def _rest(lists: RuleLists, rows: Ints, total: Floats, whole: Units) -> tuple[Floats, Floats]:
    """[n] rows on which no rule speaks, and the activation on them."""
    n = len(whole.rows)
    owned_rows, owned = (summed(lists.unit, x.astype(np.float64), n) for x in (rows, total))
    return whole.rows - owned_rows, np.maximum(whole.total - owned, 0)


def _joined(parts: list[RuleLists]) -> RuleLists:
    return RuleLists._make(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _taken(of: RuleLists, which: Ints) -> RuleLists:
    return RuleLists._make(array[which] for array in of)


def _units(firings: Kept, n_rows: int, n: int) -> Units:
    value = firings.value.astype(np.float64)
    total, squares = (summed(firings.unit.astype(np.int64), x, n) for x in (value, value**2))
    return Units(np.full(n, n_rows), np.bincount(firings.unit, minlength=n), total, squares)


def _weighed(execution: Execution, measured: Measured, whole: Units) -> tuple[Floats, Floats, Floats]:
    """By budget: what rules predict [K], what is predicted where none speaks [n], and from which on it fires [n]."""
    rows, n = execution.owned_rows(measured.patterns), len(whole.rows)
    weight, rest = np.full(rows.shape, np.nan), np.zeros((len(BUDGETS), n))
    threshold = np.full((len(BUDGETS), n), np.inf)
    for number, budget in enumerate(BUDGETS):
        owned = rows[number], measured.firings[number], measured.total[number]
        rest_rows, rest_total = _rest(execution.lists, owned[0], owned[2], whole)
        rest[number] = rest_total / np.maximum(rest_rows, 1)
        weight[number] = _weights(execution, budget, owned[0], owned[2], rest[number])
        threshold[number] = best_threshold(tally(execution.lists, weight[number], rest[number], *owned, whole))
    return weight, rest, threshold


def _weights(execution: Execution, budget: int, rows: Ints, total: Floats, rest: Floats) -> Floats:
    """λ·(mean over the rows that the rule owns) + (1 − λ)·(what would be said there without it)."""
    lists, fallback = execution.lists, execution.fallbacks(budget)
    weight = np.full(len(lists.unit), np.nan)
    for kind in range(len(KINDS)):  # containing rules first
        here = np.flatnonzero((lists.kind == kind) & (lists.position < budget))
        without = np.where(fallback[here] >= 0, weight[fallback[here]], rest[lists.unit[here]])
        own = np.divide(total[here], rows[here], out=without.copy(), where=rows[here] > 0)
        weight[here] = lists.trust[here] * own + (1 - lists.trust[here]) * without
    return weight


def _in_order(lists: list[RuleLists], weights: list[Floats], shares: list[Floats]) -> tuple[RuleLists, Floats, Floats]:
    """By unit and position."""
    if not lists:
        empty = np.zeros(0, np.int64)
        none = RuleLists(empty, empty, empty, np.zeros((0, len(FIELDS)), np.int32), np.zeros(0), np.zeros(0))
        return none, np.zeros((len(BUDGETS), 0)), np.zeros(0)
    whole = _joined(lists)
    order = np.lexsort((whole.position, whole.unit))
    return (
        _taken(whole, order),
        np.concatenate(weights, axis=1)[:, order],
        np.concatenate(shares)[order],
    )
