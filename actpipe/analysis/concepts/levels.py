"""How strongly a unit fires where its concept is true, and where not: a second pass over the rows of REPORT.

Levels are quarter octaves below the unit's largest activation, 16 octaves of them: 512 bytes a unit.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis import agreement
from actpipe.analysis.agreement import Floats, Moments
from actpipe.analysis.compiled import compiled
from actpipe.analysis.firings import Firings
from actpipe.analysis.scores.score import State
from actpipe.analysis.splits import SCORE

from .counts import REPORT, ConceptCounts
from .labels import labels_of

LEVELS = 64
_PER_OCTAVE = 4


class ConceptLevels:
    def __init__(self, counts: ConceptCounts, concept: NDArray[np.int64]) -> None:
        """`concept` [n]: of each unit one; −1 for none."""
        self.corpus, self.n, self.concept = counts.corpus, counts.n, concept
        self.largest = counts.largest
        self.true = counts.true[REPORT][np.maximum(concept, 0)].astype(np.float64)  # rows of REPORT: [n]
        self.fires = counts.fires[REPORT].astype(np.float64)
        self.rows = np.full(counts.n, float(counts.rows[REPORT]))
        self.levels = np.zeros((counts.n, LEVELS, 2), np.int64)  # firings by level, where the concept is false and true
        self.mass = np.zeros((counts.n, 2))  # Σa, likewise
        self.squares = np.zeros(counts.n)  # Σa²

    def update(self, batch: Firings) -> None:
        labels = labels_of(self.corpus)
        assert labels is not None
        part = batch.of(SCORE)
        _add(
            part.unit,
            part.row,
            part.value,
            self.concept,
            labels.of(batch.rows),
            self.largest,
            self.levels,
            self.mass,
            self.squares,
        )

    def merge(self, other: Self) -> None:
        self.levels += other.levels
        self.mass += other.mass
        self.squares += other.squares

    def state(self) -> State:
        return {"levels": self.levels, "mass": self.mass, "squares": self.squares}

    def restore(self, state: State) -> None:
        self.levels, self.mass, self.squares = (state[name].copy() for name in ("levels", "mass", "squares"))

    def standard_correlation(self) -> Floats:
        """ρ between the activation and its concept, at the standard prevalence."""
        true, fires, rows = self.true, self.fires, self.rows
        hits = self.levels[:, :, 1].sum(axis=1).astype(np.float64)
        mass, zero = self.mass.sum(axis=1), np.zeros(self.n)
        on = Moments(fires, mass, hits, self.squares, hits, self.mass[:, 1])
        off = Moments(rows - fires, zero, true - hits, zero, true - hits, zero)
        return np.where(self._defined, agreement.standard_pearson(on, off), np.nan)

    def average_precision(self) -> Floats:
        """Of the activation as a detector of the concept, less chance; thresholds at 0 and the borders of levels."""
        true, rows = self.true, self.rows
        hits = np.cumsum(self.levels[:, :, 1], axis=1)
        chosen = np.cumsum(self.levels.sum(axis=2), axis=1)
        gained = np.diff(hits, axis=1, prepend=0)
        found = (gained * hits / np.maximum(chosen, 1)).sum(axis=1) + (true - hits[:, -1]) * true / rows
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self._defined, agreement.above_chance(found / true, true / rows), np.nan)

    def separation(self) -> Floats:
        """Jensen–Shannon distance, 0 to 1, between the activations where the concept is true and those where it is not;
        silence is a level of its own (Fereidouni et al. 2026)."""
        true, rows = self.true, self.rows
        silent = np.stack([rows - true, true], axis=1) - self.levels.sum(axis=1)
        counts = np.concatenate([self.levels, silent[:, None]], axis=1).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = counts / counts.sum(axis=1, keepdims=True)
            middle = share.mean(axis=2, keepdims=True)
            bits = np.where(share > 0, share * np.log2(share / middle), 0).sum(axis=1).mean(axis=1)
        return np.where(self._defined, np.sqrt(np.maximum(bits, 0)), np.nan)

    @property
    def _defined(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (self.concept >= 0) & (self.fires > 0) & (self.true > 0) & (self.true < self.rows)
        return found


@compiled
def _add(
    unit: Any, row: Any, value: Any, concept: Any, labels: Any, largest: Any, levels: Any, mass: Any, squares: Any
) -> None:
    for i in range(len(unit)):
        u, a = unit[i], np.float64(value[i])
        is_true = int(concept[u] >= 0 and labels[row[i], concept[u]])
        octaves = np.log2(largest[u] / value[i])
        levels[u, int(min(max(octaves * _PER_OCTAVE, 0), LEVELS - 1)), is_true] += 1
        mass[u, is_true] += a
        squares[u] += a * a
