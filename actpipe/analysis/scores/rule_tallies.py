"""How often units fire where their rules speak: counts that add up over parts of the text, and what they say of rules.

A list of R rules says at most R + 1 different things of a row, so every statistic over millions of rows follows from
the rows, firings and activation that each rule owns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.agreement import (
    Confusion,
    Moments,
    above_chance,
    balanced_accuracy,
    fpr,
    pearson_of,
    precision,
    standard_f1,
    standard_pearson,
    tpr,
)
from actpipe.analysis.ngrams import Fields
from actpipe.analysis.ngrams_order import ByRow

from .rule_lists import MOST_RULES, Execution, Floats, Ints, RuleLists

PER_MILLE = 0.001  # the second standard prevalence


@dataclass
class Measured:
    """Sums over rows of one split; parts add up."""

    execution: Execution
    rows: int = 0
    patterns: Ints = field(init=False)  # [P] rows on which each stands
    firings: Ints = field(init=False)  # [budgets, K] owned
    total: Floats = field(init=False)  # [budgets, K] Σa of them

    def __post_init__(self) -> None:
        shape = len(self.execution.budgets), len(self.execution.lists.unit)
        self.patterns = np.zeros(self.execution.patterns.n, dtype=np.int64)
        self.firings, self.total = np.zeros(shape, dtype=np.int64), np.zeros(shape)

    def update(self, said: Fields, firings: ByRow, told: int = 0) -> NDArray[np.int32]:
        """`said` [B, 6] of all rows that count, and the firings on them. Returns the rule that owns each firing with
        the budget number `told`."""
        on = self.execution.patterns.on(said)
        self.rows += len(said)
        self.patterns += self.execution.row_counts(on)
        owned = self.execution.owned(on, firings, told)
        self.firings += owned.firings
        self.total += owned.total
        return owned.rule

    def merge(self, other: Self) -> None:
        self.rows += other.rows
        self.patterns += other.patterns
        self.firings += other.firings
        self.total += other.total


class Units(NamedTuple):
    """[n] sums over all rows, whatever rules say."""

    rows: Ints
    firings: Ints
    total: Floats
    squares: Floats


class Tally(NamedTuple):
    """[n, MOST_RULES + 1] by rule of the unit, the last: rows on which no rule speaks."""

    said: Floats  # the prediction; NaN where there is no such rule
    rows: Floats
    firings: Floats
    total: Floats
    units: Units


def tally(
    lists: RuleLists, weight: Floats, otherwise: Floats, rows: Ints, firings: Ints, total: Floats, units: Units
) -> Tally:
    """For one budget: [K] each, `weight` NaN for rules beyond it; `otherwise` [n] is said where no rule speaks."""

    def spread(values: NDArray[np.generic], rest: Floats | None, empty: float) -> Floats:
        table = np.full((len(otherwise), MOST_RULES + 1), empty, dtype=np.float64)
        table[lists.unit, lists.position] = values
        table[:, -1] = otherwise if rest is None else rest - table[:, :-1].sum(axis=1)
        return table

    return Tally(
        spread(weight, None, np.nan),
        spread(rows, units.rows.astype(np.float64), 0),
        spread(firings, units.firings.astype(np.float64), 0),
        spread(total, units.total, 0),
        units,
    )


def best_threshold(of: Tally) -> Floats:
    """[n] the prediction from which on a row counts as firing: highest standard F1. Infinite where no rule helps."""
    said, rows, firings = _falling(_rules_only(of))
    positive, n = of.units.firings[:, None], of.units.rows[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = standard_f1(firings / positive, (rows - firings) / (n - positive))
    found = np.where(np.isnan(said) | ~(found > 0), -1, found)
    best = found.argmax(axis=1)
    at = np.arange(len(best)), best
    return np.where(found[at] > 0, said[at], np.inf)


def confusion_of(of: Tally, threshold: Floats) -> Confusion:
    """Rows on which a rule that says at least `threshold` speaks are predicted to fire."""
    predicted = of.said[:, :-1] >= threshold[:, None]  # False for NaN
    rows, firings = ((values[:, :-1] * predicted).sum(axis=1) for values in (of.rows, of.firings))
    negative = of.units.rows - of.units.firings
    return Confusion(firings, rows - firings, of.units.firings - firings, negative - rows + firings)


def statistics(of: Tally, threshold: Floats) -> dict[str, Floats]:
    """[n] each; NaN where the unit does not fire."""
    seen = confusion_of(of, threshold)
    hit, false = tpr(seen), fpr(seen)
    on, off = _moments(of)
    ap = _average_precision(of)
    fires = np.where(of.units.firings > 0, 1.0, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        covered = np.where(of.said[:, :-1] >= threshold[:, None], of.total[:, :-1], 0).sum(axis=1) / of.units.total
        density = of.units.firings / of.units.rows
    return {
        "f1_std": standard_f1(hit, false) * fires,
        "f1_std_per_mille": standard_f1(hit, false, PER_MILLE) * fires,
        "rho_std": _zero_if_silent(standard_pearson(on, off), of) * fires,
        "rho_std_per_mille": _zero_if_silent(standard_pearson(on, off, PER_MILLE), of) * fires,
        "pearson": _zero_if_silent(pearson_of(Moments(*(x + y for x, y in zip(on, off, strict=True)))), of) * fires,
        "auprc": ap * fires,
        "auprc_above_chance": above_chance(ap, density) * fires,
        "balanced_accuracy": balanced_accuracy(seen) * fires,
        "tpr": hit * fires,
        "fpr": false,
        "precision": precision(seen),
        "coverage": covered * fires,
    }


def _rules_only(of: Tally) -> Tally:
    return of._replace(said=of.said[:, :-1], rows=of.rows[:, :-1], firings=of.firings[:, :-1], total=of.total[:, :-1])


def _falling(of: Tally) -> tuple[Floats, Floats, Floats]:
    """By falling prediction: the prediction, and rows and firings on which at least that is predicted."""
    order = np.argsort(-of.said, axis=1, kind="stable")  # NaN last
    said, rows, firings = (np.take_along_axis(values, order, axis=1) for values in (of.said, of.rows, of.firings))
    rows, firings = rows.cumsum(axis=1), firings.cumsum(axis=1)
    for column in range(said.shape[1] - 2, -1, -1):  # equal predictions are one threshold
        tied = said[:, column] == said[:, column + 1]
        rows[tied, column], firings[tied, column] = rows[tied, column + 1], firings[tied, column + 1]
    return said, rows, firings


def _average_precision(of: Tally) -> Floats:
    """Σ (recall gained) · precision over falling predictions, one threshold for equal ones."""
    _, rows, firings = _falling(of)
    gained = np.diff(firings, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(rows > 0, firings / rows, 0)
        return np.asarray((gained * share).sum(axis=1) / of.units.firings)


def _moments(of: Tally) -> tuple[Moments, Moments]:
    """Of rows on which the unit fires, and of the others; both are the same up to a constant in the prediction."""
    said = np.where(np.isnan(of.said), 0, of.said - of.said[:, -1:])
    silent = of.rows - of.firings
    on, off = of.units.firings, of.units.rows - of.units.firings
    zero = np.zeros(len(on))
    return (
        Moments(
            on.astype(np.float64),
            of.units.total,
            (said * of.firings).sum(axis=1),
            of.units.squares,
            (said**2 * of.firings).sum(axis=1),
            (said * of.total).sum(axis=1),
        ),
        Moments(off.astype(np.float64), zero, (said * silent).sum(axis=1), zero, (said**2 * silent).sum(axis=1), zero),
    )


def _zero_if_silent(correlation: Floats, of: Tally) -> Floats:
    """A list that says the same of every row explains nothing: 0, as its F1 is, if the unit varies."""
    constant = ~(np.where(np.isnan(of.said[:, :-1]), 0, of.rows[:, :-1]) > 0).any(axis=1)
    return np.where(constant & (of.units.firings < of.units.rows), 0.0, correlation)
