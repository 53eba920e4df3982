"""What the score `rules` gathers in the two passes: firings to make rules from, and how rules do on other text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.firings import Firings
from actpipe.analysis.ngrams import Fields, fields, preceding
from actpipe.analysis.ngrams_order import ByRow
from actpipe.analysis.rows import Rows
from actpipe.analysis.splits import EXPLAIN, PROFILE, SCORE

from .interference import DECILES, Deciles, Magnitudes, bins
from .rule_candidates import classes_of
from .rule_fitting import Fitted, fit
from .rule_lists import MAIN, Execution, Ints
from .rule_tallies import Measured, Units
from .score import State
from .text_rows import lowest_level
from .thinned_firings import ThinnedFirings


class Gathered:
    def __init__(self, n_units: int, corpus: Corpus, seed: int) -> None:
        self.corpus = corpus
        self.kept = ThinnedFirings(
            n_units,
            context=corpus.store.context,
            seed=seed,
            split=EXPLAIN,
            floor=lowest_level(corpus, EXPLAIN),
        )
        self.magnitudes = Magnitudes(n_units)

    def update(self, batch: Firings) -> None:
        self.kept.update(batch)
        self.magnitudes.update(batch.of(PROFILE))

    def merge(self, other: Self) -> None:
        self.kept.merge(other.kept)
        self.magnitudes.merge(other.magnitudes)

    def state(self) -> State:
        return {"magnitudes": self.magnitudes.counts, **self.kept.state()}

    def restore(self, state: State) -> None:
        self.magnitudes.counts = state["magnitudes"].copy()
        self.kept.restore(state)


class Plan:
    """What the second pass measures. Never changed, so copies of an accumulator share it."""

    def __init__(self, gathered: Gathered) -> None:
        self.fitted: Fitted = fit(gathered.kept, gathered.corpus)
        self.n = len(self.fitted.firings)
        self.execution = Execution(self.fitted.lists, self.n)
        self.classes = classes_of(gathered.corpus)
        self.decile_of_bin = gathered.magnitudes.decile_of_bin()
        weight, threshold = self.fitted.weight[MAIN], self.fitted.threshold[MAIN]
        self.predicts = weight >= threshold[self.fitted.lists.unit]  # [K] firing; False for NaN

    def __deepcopy__(self, memo: object) -> Plan:
        return self


@dataclass
class Checked:
    plan: Plan
    measured: Measured = field(init=False)
    deciles: Deciles = field(init=False)
    total: NDArray[np.float64] = field(init=False)  # [n] Σa on the score split
    squares: NDArray[np.float64] = field(init=False)  # [n] Σa²

    def __post_init__(self) -> None:
        n = self.plan.n
        self.measured = Measured(self.plan.execution)
        self.deciles = Deciles(np.zeros((n, DECILES), np.int64), np.zeros((n, DECILES), np.int64))
        self.total, self.squares = np.zeros(n), np.zeros(n)

    def update(self, batch: Firings) -> None:
        plan, fired = self.plan, batch.of(SCORE)
        where, said = _score_rows(batch.rows, plan.classes)
        starts = np.searchsorted(fired.row, np.append(where, len(batch.rows.tokens)))
        owner = self.measured.update(said, ByRow(starts, fired.unit, fired.value), told=MAIN)
        _add(
            fired.unit,
            fired.value,
            bins(fired.value),
            plan.decile_of_bin,
            owner,
            plan.predicts,
            self.total,
            self.squares,
            *self.deciles,
        )

    def merge(self, other: Self) -> None:
        self.measured.merge(other.measured)
        self.total += other.total
        self.squares += other.squares
        for mine, theirs in zip(self.deciles, other.deciles, strict=True):
            mine += theirs

    def state(self) -> State:
        seen = self.measured
        return {
            "rows": np.array(seen.rows),
            "patterns": seen.patterns,
            "firings": seen.firings,
            "owned": seen.total,
            "total": self.total,
            "squares": self.squares,
            **{f"deciles.{name}": values for name, values in self.deciles._asdict().items()},
        }

    def restore(self, state: State) -> None:
        seen = self.measured
        seen.rows = int(state["rows"])
        seen.patterns, seen.firings, seen.total = (state[name].copy() for name in ("patterns", "firings", "owned"))
        self.total, self.squares = state["total"].copy(), state["squares"].copy()
        self.deciles = Deciles(*(state[f"deciles.{name}"].copy() for name in Deciles._fields))

    def units(self) -> Units:
        fired = self.deciles.firings.sum(axis=1)
        return Units(np.full(self.plan.n, self.measured.rows), fired, self.total, self.squares)


@compiled
def _add(
    unit: Any,
    value: Any,
    magnitude: Any,
    decile_of_bin: Any,
    owner: Any,
    predicts: Any,
    total: Any,
    squares: Any,
    firings: Any,
    predicted: Any,
) -> None:
    """To Σa and Σa² of each unit, and to its firings by decile: all, and those that are predicted."""
    for i in range(len(unit)):
        u, a = unit[i], np.float64(value[i])
        total[u] += a
        squares[u] += a * a
        decile = decile_of_bin[u, magnitude[i]]
        firings[u, decile] += 1
        if owner[i] >= 0 and predicts[owner[i]]:
            predicted[u, decile] += 1


def _score_rows(rows: Rows, classes: NDArray[np.int32] | None) -> tuple[Ints, Fields]:
    """Counted rows of the score split, and what stands at each and before it."""

    def make() -> tuple[Ints, Fields]:
        where = np.flatnonzero(rows.counted & (rows.split == SCORE))
        return where, fields(preceding(rows)[where], classes)

    return rows.once("rules.score_rows", make)
