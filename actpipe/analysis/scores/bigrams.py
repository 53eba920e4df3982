"""How much of a unit is decided by the current token, by the one before it as well, and by more than both (T2).

On the N rows on which a unit is looked at, with S_g the sum of its activation over the rows of group g, n_g their
number, S = Σ S_g, and V groups that occur:

    raw  = [Σ_g S_g²/n_g − S²/N] / [Σ a² − S²/N]
    R²   = 1 − (1 − raw)(N − 1)/(N − V)          0 on average for activations exchanged between rows at random

once with rows grouped by x_t and once by (x_{t−1}, x_t) hashed to 2²⁰ buckets (the first row of a text has its own
x_{t−1}). Collisions only lower the second; V counts buckets. Then

    token_share + bigram_gain + context_share = 1

A unit of common bigrams has a large gain; what is left to the context is what no pair of tokens decides. Units are
looked at on all splits: nothing is fitted. One that fires more than 4,096 times is looked at on a random part of the
sequences (thinned_firings), which makes its values noisier but not larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.store.hashing import salt, salted

from .rule_lists import Floats, Ints
from .score import Accumulator, Metric, Score, Scored, Subject
from .text_rows import lowest_level, text_of
from .thinned_firings import ThinnedFirings

BUCKETS = 1 << 20
_SALT = 0x62696772  # "bigr"
_VARIES = 1e-9  # of Σa²: below, float64 sums cannot tell variance from rounding


@dataclass(frozen=True, kw_only=True)
class Bigrams(Score):
    name: ClassVar[str] = "bigrams"
    text: ClassVar[str] = "what the current token and the one before it decide, corrected for chance"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("bigram_r2", "share of variance explained by the current token and the one before it"),
        Metric("token_share", "share of variance explained by the current token alone"),
        Metric("bigram_gain", "what the token before adds to that"),
        Metric("context_share", "share of variance that the two tokens do not explain"),
    )

    def gather(self, subject: Subject) -> ThinnedFirings:
        return ThinnedFirings(
            subject.n,
            context=subject.corpus.store.context,
            seed=subject.seed,
            split=None,
            floor=lowest_level(subject.corpus, None),
        )

    def finish(
        self,
        subject: Subject,
        gathered: Accumulator,
        checked: Accumulator | None,
        found: Mapping[str, Scored],
    ) -> Scored:
        assert isinstance(gathered, ThinnedFirings)
        token, bigram = np.full(subject.n, np.nan), np.full(subject.n, np.nan)
        text = text_of(subject.corpus, None, subject.seed)
        kept = gathered.kept()
        firings = ByUnit(*_by_unit(kept.unit, kept.row, kept.value, text.row, subject.n))
        groups = text.tokens[:, 0].astype(np.int64), buckets(text.tokens, subject.corpus.vocabulary)
        for floor in np.unique(gathered.floor).tolist():
            units = np.flatnonzero(gathered.floor == floor)
            for values, group in zip((token, bigram), groups, strict=True):
                values[units] = determinism(firings, units, group, looked_at=text.level >= floor)
        columns = {
            "bigram_r2": bigram,
            "token_share": token,
            "bigram_gain": bigram - token,
            "context_share": 1 - bigram,
        }
        sampled = int((gathered.floor > gathered.floor.min(initial=0)).sum())
        note = f"R² by bigrams of the {sampled} densest units is measured on a sample of the sequences."
        return Scored(columns, notes=(note,) if sampled else ())


def buckets(tokens: NDArray[np.int32], vocabulary: int) -> Ints:
    """[R] of (x_{t−1}, x_t), from [R, ≥ 2] preceding tokens; −1 stands for no token."""
    pair = (tokens[:, 1].astype(np.int64) + 1) * vocabulary + tokens[:, 0]
    return np.asarray((salted(pair, salt(_SALT)) % np.uint64(BUCKETS)).astype(np.int64))


class ByUnit(NamedTuple):
    """Firings in order of unit and row."""

    starts: NDArray[np.int64]  # [n + 1] where each unit's begin
    row: NDArray[np.int32]  # [m] place in the text
    value: NDArray[np.float32]


@compiled
def _by_unit(
    unit: NDArray[np.int32], row: NDArray[np.int64], value: NDArray[np.float32], text: NDArray[np.int64], n_units: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Of firings in order of row, whose rows are all in `text`."""
    starts = np.zeros(n_units + 1, np.int64)
    for i in range(len(unit)):
        starts[unit[i] + 1] += 1
    starts = np.cumsum(starts)
    next_, places, values = starts.copy(), np.empty(len(unit), np.int32), np.empty(len(unit), np.float32)
    place = 0
    for i in range(len(unit)):
        while text[place] < row[i]:
            place += 1
        places[next_[unit[i]]], values[next_[unit[i]]] = place, value[i]
        next_[unit[i]] += 1
    return starts, places, values


def determinism(firings: ByUnit, units: Ints, group: Ints, *, looked_at: NDArray[np.bool_]) -> Floats:
    """R² of the groups for each of `units`; NaN where one does not vary, or where there are as many groups as rows.

    `group` [R] of each row of the text, `looked_at` [R]: rows that count for these units; elsewhere they do not fire.
    """
    count = np.bincount(group[looked_at], minlength=int(group.max(initial=0)) + 1)
    n, v = int(count.sum()), int((count > 0).sum())
    if n <= v:
        return np.full(len(units), np.nan)
    number = np.cumsum(count > 0) - 1  # of those that occur: sums of fewer stay in the caches
    between, total, squares = _sums(firings, units, number[group].astype(np.int32), count[count > 0])
    baseline = total**2 / n
    varies = squares - baseline > _VARIES * squares
    with np.errstate(invalid="ignore", divide="ignore"):
        raw = (between - baseline) / (squares - baseline)
    return np.where(varies, 1 - (1 - raw) * (n - 1) / (n - v), np.nan)


@compiled
def _sums(firings: ByUnit, units: Ints, group: NDArray[np.int32], count: Ints) -> Floats:
    """[3, units]: Σ_g S_g²/n_g, Σ a, Σ a²."""
    found, of_group = np.zeros((3, len(units))), np.zeros(len(count))
    for u in range(len(units)):
        first, stop = firings.starts[units[u]], firings.starts[units[u] + 1]
        for i in range(first, stop):
            value = np.float64(firings.value[i])
            of_group[group[firings.row[i]]] += value
            found[1, u] += value
            found[2, u] += value * value
        for i in range(first, stop):
            g = group[firings.row[i]]
            found[0, u] += of_group[g] ** 2 / count[g]
            of_group[g] = 0  # counted once, and empty for the next unit
    return found
