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
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from actpipe.store.hashing import salt, salted

from .rule_candidates import summed
from .rule_lists import Floats, Ints
from .score import Accumulator, Metric, Score, Scored, Subject
from .text_rows import lowest_level, text_of
from .thinned_firings import Kept, ThinnedFirings

BUCKETS = 1 << 20
_SALT = 0x62696772  # "bigr"
_AT_MOST = 4096  # firings of a unit: 70 kB
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
            at_most=_AT_MOST,
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
        whole = text_of(subject.corpus, None, subject.seed)
        for floor, units, kept in gathered.groups():
            text = whole.from_level(floor)
            row = np.searchsorted(text.row, kept.row)
            groups = text.tokens[:, 0].astype(np.int64), buckets(text.tokens, subject.corpus.vocabulary)
            for values, group in zip((token, bigram), groups, strict=True):
                values[units] = determinism(kept, row, group, subject.n)[units]
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


def determinism(firings: Kept, row: Ints, group: Ints, n_units: int) -> Floats:
    """[n_units] R² of the groups; NaN where a unit does not vary, or where there are as many groups as rows.

    `row` [m] of each firing among the rows that were looked at, `group` [R] of each row.
    """
    values, count = np.unique(group, return_counts=True)
    n, v = len(group), len(values)
    if n <= v:
        return np.full(n_units, np.nan)
    place = np.searchsorted(values, group)[row]
    unit, value = firings.unit.astype(np.int64), firings.value.astype(np.float64)
    order, starts = _together(unit * v + place)
    sums = np.add.reduceat(value[order], starts) if len(starts) else value
    first = order[starts]
    between = summed(unit[first], sums**2 / count[place[first]], n_units)
    total, squares = summed(unit, value, n_units), summed(unit, value**2, n_units)
    baseline = total**2 / n
    varies = squares - baseline > _VARIES * squares
    with np.errstate(invalid="ignore", divide="ignore"):
        raw = (between - baseline) / (squares - baseline)
    return np.where(varies, 1 - (1 - raw) * (n - 1) / (n - v), np.nan)


def _together(key: Ints) -> tuple[Ints, Ints]:
    """An order that brings equal keys together, and where each begins in it."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    return order, np.flatnonzero(np.diff(ordered, prepend=-1))
