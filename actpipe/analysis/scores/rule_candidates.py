"""N-grams that could be rules of a unit: how often each stands in the text and what the unit does there, in two folds.

Counts are of the explain split. A candidate stands there at least LEAST_ROWS times and the unit fires on it at least
LEAST_FIRINGS times. Its value on one fold is measured with means of the other one, so a candidate that is
only chance gains nothing on average.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.ngrams import FIELDS, KINDS, Fields, fields, token_classes
from actpipe.analysis.ngrams_order import ByRow, Ints32, Order, Swept, distinct_longer, ordered, swept
from actpipe.analysis.splits import EXPLAIN

from .text_rows import text_of

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


class Grams(NamedTuple):
    """The n-grams of one kind that stand in the text often enough."""

    kind: int  # index in KINDS
    at: Ints32  # [R] the number of each row's, by place in the order; −1 where there is none
    rows: Floats  # [G, 2] by fold
    trust: Floats  # [G]
    fields: Fields  # [G, 6]


class Side(NamedTuple):
    """The text in one order."""

    row: Ints32  # [R] which row stands at each place
    fold: NDArray[np.int8]  # [R] by place
    grams: tuple[Grams, ...]


class Orders(NamedTuple):
    """All that candidates need to know of the text."""

    row: Ints  # [R] number in the store, increasing
    fold: NDArray[np.int8]  # [R]
    fields: Fields  # [R, 6]
    sides: tuple[Side, ...]


_MADE: WeakKeyDictionary[Corpus, dict[tuple[int, int], Orders]] = WeakKeyDictionary()
_MAKING = Lock()


def orders_of(corpus: Corpus, seed: int, floor: int) -> Orders:
    """Of the explain split from a level on (thinned_firings); made once a corpus whoever asks: 200 bytes a row."""
    with _MAKING:
        made = _MADE.setdefault(corpus, {})
        if (seed, floor) not in made:
            made[seed, floor] = _orders(corpus, seed, floor)
        return made[seed, floor]


@lru_cache(maxsize=1)
def classes_of(corpus: Corpus) -> NDArray[np.int32] | None:
    return None if corpus.texts is None else token_classes(corpus.texts, corpus.vocabulary)


def _orders(corpus: Corpus, seed: int, floor: int) -> Orders:
    text = text_of(corpus, EXPLAIN, seed).from_level(floor)
    said = fields(text.tokens, classes_of(corpus))
    class0, token0, class1, token1, token2, token3 = said.T
    ending = ordered((class0, token0, token1, token2, token3, text.tokens[:, 4]), text.fold)
    after = ordered((class1, token1, token2, token3), text.fold)
    sides = [
        Side(
            order.row, text.fold[order.row], tuple(_grams(order, said, _NUMBER[name], *depths) for name, *depths in of)
        )
        for order, of in ((ending, _ENDING), (after, _AFTER))
    ]
    return Orders(text.row, text.fold, said, tuple(sides))


def _grams(order: Order, said: Fields, kind: int, depth: int, longer: int) -> Grams:
    of, asks = order.depths[depth], KINDS[kind].asks
    rows = of.counts.sum(axis=1)
    eligible = rows >= LEAST_ROWS
    if FIELDS[asks[0]] in ("class0", "class1"):
        eligible &= distinct_longer(order, depth, depth + 1) > 1  # a class of one token is that token
    number = np.where(eligible, np.cumsum(eligible) - 1, -1).astype(np.int32)
    trust = rows / np.maximum(rows + distinct_longer(order, depth, longer), 1)
    known = _implied(asks)
    patterns = np.full((int(eligible.sum()), len(FIELDS)), -1, dtype=np.int32)
    patterns[:, known] = said[order.row[of.first[eligible]]][:, known]
    return Grams(kind, number[of.node], of.counts[eligible].astype(np.float64), trust[eligible], patterns)


def _implied(asks: tuple[int, ...]) -> list[int]:
    """A token's class goes without saying; with it, containment of patterns can be read off column by column."""
    return sorted({*asks, *(column - 1 for column in asks if FIELDS[column] in ("token0", "token1"))})


def summed(at: Ints, value: Floats, n: int) -> Floats:
    return np.asarray(np.bincount(at, weights=value, minlength=n), dtype=np.float64)


def candidates(orders: Orders, base: Base, firings: ByRow) -> Candidates:
    """Of all units at once."""
    found = []
    for side in orders.sides:
        by_unit = swept(side.row, firings, len(base.spread))
        found += [_of_kind(grams, side.fold, by_unit, base) for grams in side.grams]
    return Candidates._make(np.concatenate(arrays) for arrays in zip(*found, strict=True))


def _of_kind(grams: Grams, fold: NDArray[np.int8], firings: Swept, base: Base) -> Candidates:
    least = LEAST_GAIN * base.spread
    unit, gram, total, gained = _gaining(*firings, fold, grams.at, grams.rows, grams.trust, base.mean, least)
    kind = np.full(len(unit), grams.kind)
    return Candidates(unit, kind, grams.fields[gram], grams.rows[gram], total, grams.trust[gram], gained)


@compiled
def _gaining(
    starts: Any, place: Any, value: Any, fold: Any, at: Any, rows: Any, trust: Any, mean: Any, least: Any
) -> Any:
    """(unit, n-gram, Σa by fold, gain) of the n-grams that gain at least `least` of a unit."""
    most = len(place) // LEAST_FIRINGS + 1  # memory that is not written to costs nothing
    units, grams = np.empty(most, np.int64), np.empty(most, np.int64)
    totals, gains = np.empty((most, 2)), np.empty(most)
    n, total = 0, np.zeros(2)
    for unit in range(len(starts) - 1):
        i = starts[unit]
        while i < starts[unit + 1]:
            gram = at[place[i]]
            fired = 0
            total[:] = 0
            while i < starts[unit + 1] and at[place[i]] == gram:
                total[fold[place[i]]] += value[i]
                fired += 1
                i += 1
            if gram < 0 or fired < LEAST_FIRINGS:
                continue
            gained = gain(rows[gram], total, trust[gram], mean[unit])
            if gained >= least[unit]:
                units[n], grams[n], totals[n], gains[n] = unit, gram, total, gained
                n += 1
    return units[:n].copy(), grams[:n].copy(), totals[:n].copy(), gains[:n].copy()


@compiled
def gain(rows: Any, total: Any, trust: float, otherwise: Any) -> float:
    """How much squared error a rule takes away, each fold predicted from the other one; [2] by fold:

    Σ_t (a − p)² − (a − m)² = 2(m − p)Σa − (m² − p²)n, m the rule's mean and p what is said otherwise.

    m is shrunk: λ·(mean of the n-gram) + (1 − λ)·p.
    """
    saved = 0.0
    for fold in range(2):
        other = 1 - fold
        p = otherwise[other]
        mean = total[other] / rows[other] if rows[other] > 0 else p
        m = trust * mean + (1 - trust) * p
        saved += 2 * (m - p) * total[fold] - (m**2 - p**2) * rows[fold]
    return saved
