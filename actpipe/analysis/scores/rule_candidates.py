"""N-grams that could be rules of a unit: how often each stands in the text and what the unit does there, in two folds.

Counts are of the explain split. A candidate stands there at least LEAST_ROWS times and the unit fires on it at least
LEAST_FIRINGS times. Its value on one fold is measured with means of the other one, so a candidate that is
only chance gains nothing on average.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.ngrams import FIELDS, KINDS, Fields, fields
from actpipe.analysis.ngrams_order import Order, Swept, distinct_longer, ordered, sums, swept

from .text_rows import Text

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_ROWS = 5
LEAST_FIRINGS = 2
LEAST_GAIN = 0.001  # of the unit's squared deviation from its mean

# (kind, depth of its n-grams, depth of the next longer ones) in the two orders of a text.
_ENDING = (("class", 0, 2), ("token", 1, 2), ("2 tokens", 2, 3), ("3 tokens", 3, 4), ("4 tokens", 4, 5))
_AFTER = (("after class", 0, 2), ("after token", 1, 2), ("after 2 tokens", 2, 3))
_NUMBER = {kind.name: number for number, kind in enumerate(KINDS)}


class Candidates(NamedTuple):
    unit: Ints  # [m]
    kind: Ints  # [m] index in KINDS
    fields: Fields  # [m, 6]
    rows: Floats  # [m, 2] n_g by fold
    total: Floats  # [m, 2] Σa by fold
    trust: Floats  # [m] λ_g = n_g / (n_g + t_g), Witten and Bell; t_g: different next longer n-grams
    gain: Floats  # [m] by itself, against the unit's mean


class Base(NamedTuple):
    """What is known of a unit before any rule."""

    rows: Floats  # [U, 2] by fold
    total: Floats  # [U, 2] Σa by fold
    spread: Floats  # [U] Σ(a − mean)²

    @property
    def mean(self) -> Floats:
        """[U, 2] by fold; of both where a fold has no rows."""
        whole = self.total.sum(axis=1, keepdims=True) / np.maximum(self.rows.sum(axis=1, keepdims=True), 1)
        return np.asarray(np.divide(self.total, self.rows, out=np.repeat(whole, 2, axis=1), where=self.rows > 0))


class Orders(NamedTuple):
    ending: Order
    after: Order
    fields: Fields  # [R, 6] by row
    rows: Ints  # [2] by fold

    @classmethod
    def of(cls, text: Text, classes: NDArray[np.int32] | None) -> Self:
        said = fields(text.tokens, classes)
        class0, token0, class1, token1, token2, token3 = said.T
        fourth = text.tokens[:, 4]
        return cls(
            ordered((class0, token0, token1, token2, token3, fourth), text.fold),
            ordered((class1, token1, token2, token3), text.fold),
            said,
            np.bincount(text.fold, minlength=2),
        )


def base(rows: Ints, fold: NDArray[np.int8], unit: Ints, value: Floats, n_units: int) -> Base:
    """`rows` [2], `fold` [m] of each firing."""
    total = summed(unit * 2 + fold, value, 2 * n_units).reshape(n_units, 2)
    squares = summed(unit, value**2, n_units)
    spread = squares - total.sum(axis=1) ** 2 / max(rows.sum(), 1)
    return Base(np.tile(rows.astype(np.float64), (n_units, 1)), total, spread)


def summed(at: Ints, value: Floats, n: int) -> Floats:
    return np.asarray(np.bincount(at, weights=value, minlength=n), dtype=np.float64)


def candidates(orders: Orders, base: Base, unit: Ints, row: Ints, value: Floats) -> Candidates:
    """Of all units at once; `row` [m] counts in the text."""
    found = []
    for order, shapes in ((orders.ending, _ENDING), (orders.after, _AFTER)):
        firings = swept(order, unit, row, value)
        found += [_of_kind(orders, order, firings, base, _NUMBER[name], *depths) for name, *depths in shapes]
    return Candidates._make(np.concatenate(arrays) for arrays in zip(*found, strict=True))


def _of_kind(
    orders: Orders, order: Order, firings: Swept, base: Base, kind: int, depth: int, longer: int
) -> Candidates:
    of = order.depths[depth]
    total_rows = of.counts.sum(axis=1)
    eligible = total_rows >= LEAST_ROWS
    if KINDS[kind].asks[0] in (FIELDS.index("class0"), FIELDS.index("class1")):
        eligible &= distinct_longer(order, depth, depth + 1) > 1  # a class of one token is that token
    found = sums(order, firings, depth, eligible=eligible, at_least=LEAST_FIRINGS)
    node, unit = found.node, found.unit
    trust = (total_rows / np.maximum(total_rows + distinct_longer(order, depth, longer), 1))[node]
    rows = of.counts[node].astype(np.float64)
    gained = gain(rows, found.total, trust, base.mean[unit])
    kept = np.flatnonzero(gained >= LEAST_GAIN * base.spread[unit])
    said = np.full((len(kept), len(FIELDS)), -1, dtype=np.int32)
    known = _implied(KINDS[kind].asks)
    said[:, known] = orders.fields[order.row[of.first[node[kept]]]][:, known]
    return Candidates(
        unit[kept], np.full(len(kept), kind), said, rows[kept], found.total[kept], trust[kept], gained[kept]
    )


def _implied(asks: tuple[int, ...]) -> list[int]:
    """A token's class goes without saying; with it, containment of patterns can be read off column by column."""
    return sorted({*asks, *(column - 1 for column in asks if FIELDS[column] in ("token0", "token1"))})


def shrunk(rows: Floats, total: Floats, trust: Floats, otherwise: Floats) -> Floats:
    """λ·(mean of the n-gram) + (1 − λ)·(what would be said without it); [..., 2] by fold."""
    mean = np.divide(total, rows, out=otherwise.copy(), where=rows > 0)
    return trust[..., None] * mean + (1 - trust[..., None]) * otherwise


def gain(rows: Floats, total: Floats, trust: Floats, otherwise: Floats) -> Floats:
    """How much squared error a rule takes away, each fold predicted from the other one:

    Σ_t (a − p)² − (a − m)² = 2(m − p)Σa − (m² − p²)n, m the rule's mean and p what is said otherwise.
    """
    mean = shrunk(rows, total, trust, otherwise)[..., ::-1]
    before = otherwise[..., ::-1]
    saved: Floats = (2 * (mean - before) * total - (mean**2 - before**2) * rows).sum(axis=-1)
    return saved
