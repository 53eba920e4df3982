"""Rule lists from firings on the explain split: candidates, choice, weights, and when a prediction counts as firing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.ngrams import FIELDS, KINDS
from actpipe.analysis.ngrams_order import ByRow

from .rule_candidates import LEAST_GAIN, Base, Orders, candidates, orders_of, summed
from .rule_choice import choose
from .rule_lists import BUDGETS, MAIN, MOST_RULES, Execution, Floats, Ints, RuleLists
from .rule_tallies import Measured, Units, best_threshold, tally
from .thinned_firings import Kept, ThinnedFirings


class Fitted(NamedTuple):
    lists: RuleLists
    weight: Floats  # [BUDGETS, K] what each rule predicts; NaN beyond the budget
    otherwise: Floats  # [BUDGETS, n] predicted where no rule speaks: the unit's mean over such rows
    threshold: Floats  # [BUDGETS, n] a rule that predicts at least this predicts firing
    share: Floats  # [K] of the unit's activation that the rule owns at the main budget, on the explain split
    firings: Ints  # [n] fitted on
    rows: Ints  # [n] fitted on


def fit(kept: ThinnedFirings, corpus: Corpus) -> Fitted:
    n, everything = len(kept.floor), kept.kept()
    otherwise, threshold = np.zeros((len(BUDGETS), n)), np.full((len(BUDGETS), n), np.inf)
    n_rows, lists, weights, shares = np.zeros(n, np.int64), [], [], []
    for floor in np.unique(kept.floor).tolist():
        orders, mine = orders_of(corpus, kept.seed, floor), kept.floor == floor
        n_rows[mine] = len(orders.row)
        firings = _on_text(orders, everything, mine)
        if not len(firings.unit):
            continue
        base, whole = _before_any_rule(orders, firings, n)
        chosen = _telling(_chosen(orders, firings, base), orders, firings, whole)
        execution = Execution(chosen, n)
        measured = Measured(execution)
        measured.update(orders.fields, firings)
        weight, rest, limit = _weighed(execution, measured, whole)
        otherwise[:, mine], threshold[:, mine] = rest[:, mine], limit[:, mine]
        lists.append(chosen)
        weights.append(weight)
        shares.append(measured.total[MAIN] / whole.total[chosen.unit])
    found = _in_order(lists, weights, shares)
    return Fitted(found[0], found[1], otherwise, threshold, found[2], kept.firings(), n_rows)


def _on_text(orders: Orders, kept: Kept, mine: NDArray[np.bool_]) -> ByRow:
    """The firings of some units [n], which are all on rows of the text."""
    return ByRow(*_listed(orders.row, kept.row, kept.unit, kept.value, mine))


@compiled
def _listed(text: Any, row: Any, unit: Any, value: Any, mine: Any) -> Any:
    m = 0
    for u in unit:
        m += mine[u]
    starts, units, values = np.zeros(len(text) + 1, np.int64), np.empty(m, np.int32), np.empty(m, np.float32)
    m, i = 0, 0
    for r in range(len(text)):
        while i < len(row) and row[i] <= text[r]:
            if mine[unit[i]]:
                units[m], values[m] = unit[i], value[i]
                m += 1
            i += 1
        starts[r + 1] = m
    return starts, units, values


def _before_any_rule(orders: Orders, firings: ByRow, n: int) -> tuple[Base, Units]:
    fired, total, squares = _sums(*firings, orders.fold, n)
    rows = np.tile(np.bincount(orders.fold, minlength=2).astype(np.float64), (n, 1))
    whole = total.sum(axis=1)
    spread = squares - whole**2 / max(len(orders.row), 1)
    return Base(rows, total, spread), Units(np.full(n, len(orders.row)), fired, whole, squares)


@compiled
def _sums(starts: Any, unit: Any, value: Any, fold: Any, n: int) -> Any:
    """Firings [n], Σa by fold [n, 2] and Σa² [n]."""
    fired, total, squares = np.zeros(n, np.int64), np.zeros((n, 2)), np.zeros(n)
    for row in range(len(starts) - 1):
        for i in range(starts[row], starts[row + 1]):
            u, a = unit[i], np.float64(value[i])
            fired[u] += 1
            total[u, fold[row]] += a
            squares[u] += a * a
    return fired, total, squares


def _chosen(orders: Orders, firings: ByRow, base: Base) -> RuleLists:
    of = candidates(orders, base, firings)
    choice = choose(of, base)
    which = choice.candidate
    return RuleLists(of.unit[which], choice.position, of.kind[which], of.fields[which], of.trust[which], choice.mean)


def _telling(of: RuleLists, orders: Orders, firings: ByRow, whole: Units) -> RuleLists:
    """Without rules that say nothing new once all are executed, and numbered up to MOST_RULES.

    With m and n the mean and the rows of a rule and of what would speak in its place, nn'/(n + n')·(m − m')² is the
    squared error that the two as one would add: by chance as much as one row varies, twice its standard deviation in
    means are asked for.
    """
    everything = int(of.position.max(initial=0)) + 1
    execution = Execution(of, len(whole.rows), (everything,))
    measured = Measured(execution)
    measured.update(orders.fields, firings)
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


def _taken(of: RuleLists, which: Ints) -> RuleLists:
    return RuleLists._make(array[which] for array in of)


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
    whole = RuleLists._make(np.concatenate(arrays) for arrays in zip(*lists, strict=True))
    order = np.lexsort((whole.position, whole.unit))
    return (
        _taken(whole, order),
        np.concatenate(weights, axis=1)[:, order],
        np.concatenate(shares)[order],
    )
