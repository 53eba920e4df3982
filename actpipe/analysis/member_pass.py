"""Everything that one pass over the rows gathers about one set of units, and about its control `shuffled`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .activity import Activity
from .corpus import Corpus
from .firings import Firings
from .gathering import Gathering, below
from .histogram import Histogram
from .scores import Score, State, Subject
from .shuffling import shuffled
from .token_sketch import TokenSketch
from .token_sums import TokenSums
from .top_windows import TopWindows
from .units import UnitSet
from .units.chosen import ChosenUnits

CONTROL_UNITS = 256  # a member and control; medians of 256 are steady, and they cost a fraction of the whole
_PAIRS = 1 << 27  # (unit, token) pairs of 16 bytes: 2 GiB
_FIRINGS_A_TOKEN = 64  # of a dictionary that is not sparser than most
SHUFFLED, RANDOM = "shuffled", "random_directions"  # controls that every score meets


class MemberPass:
    """Accumulators of a set of units; merges with those of other parts of the rows."""

    def __init__(
        self, units: UnitSet, corpus: Corpus, edges: NDArray[np.float64], seed: int, scores: Sequence[Score] = ()
    ) -> None:
        self.units, self.corpus, self.seed = units, corpus, seed
        self.activity = Activity(units.n)
        self.histogram = Histogram(units.n, edges)
        self.token_sums: Any = token_sums(units.n, corpus)
        self.top_windows = TopWindows(units.n)
        # Control shuffled_tokens: indices of units, and their sums over tokens drawn at random.
        self.shuffled_units = drawn(units.n, CONTROL_UNITS, seed)
        self.shuffled_sums = TokenSums(corpus.vocabulary)
        self._is_shuffled = np.isin(np.arange(units.n), self.shuffled_units)
        self.not_finite = 0  # codes that were NaN or infinite, and count as zero
        subject = Subject(units=units, n=units.n, corpus=corpus, seed=seed)
        self.scores = Gathering.first(subject, scores)
        few = ChosenUnits(of=units, index=self.shuffled_units)
        moved = Subject(units=few, n=few.n, corpus=corpus, seed=seed, control=SHUFFLED)
        self.shuffled_scores = Gathering.first(moved, scores)

    def update(self, batch: Firings) -> None:
        """`batch`: a whole part of the rows."""
        self.activity.update(batch)
        self.histogram.update(batch)
        self.top_windows.update(batch)
        self.token_sums.update(batch, batch.rows.tokens)
        self.shuffled_sums.update(batch.by(self._is_shuffled), self.corpus.random_tokens(batch.rows))
        self.scores.update(batch)
        if self.shuffled_scores.accumulators:
            self.shuffled_scores.update(shuffled(batch, self.shuffled_units, self.seed))

    def merge(self, other: Self) -> None:
        self.activity.merge(other.activity)
        self.histogram.merge(other.histogram)
        self.token_sums.merge(other.token_sums)
        self.top_windows.merge(other.top_windows)
        self.shuffled_sums.merge(other.shuffled_sums)
        self.not_finite += other.not_finite
        self.scores.merge(other.scores)
        self.shuffled_scores.merge(other.shuffled_scores)

    def state(self) -> State:
        return {**_state(self, _PARTS), "not_finite": np.array(self.not_finite)}

    def restore(self, state: State) -> None:
        _restore(self, _PARTS, state)
        self.not_finite = int(state["not_finite"])


def token_sums(n_units: int, corpus: Corpus) -> TokenSums | TokenSketch:
    """Exact sums where they surely fit; else the sketch, which knows the heaviest 128 tokens of a unit."""
    pairs = min(n_units * corpus.distinct_tokens, _FIRINGS_A_TOKEN * corpus.tokens)
    return TokenSums(corpus.vocabulary) if pairs <= _PAIRS else TokenSketch(n_units, corpus.vocabulary)


class ControlPass:
    """A control of a member that has units of its own, scored as the member's are."""

    def __init__(
        self, units: UnitSet, corpus: Corpus, seed: int, scores: Sequence[Score] = (), *, control: str = RANDOM
    ) -> None:
        self.units, self.corpus = units, corpus
        self.activity = Activity(units.n)
        self.token_sums = TokenSums(corpus.vocabulary)
        self.not_finite = 0
        subject = Subject(units=units, n=units.n, corpus=corpus, seed=seed, control=control)
        self.scores = Gathering.first(subject, scores)

    def update(self, batch: Firings) -> None:
        self.activity.update(batch)
        self.token_sums.update(batch, batch.rows.tokens)
        self.scores.update(batch)

    def merge(self, other: Self) -> None:
        self.activity.merge(other.activity)
        self.token_sums.merge(other.token_sums)
        self.scores.merge(other.scores)

    def state(self) -> State:
        return _state(self, ("activity", "token_sums", "scores"))

    def restore(self, state: State) -> None:
        _restore(self, ("activity", "token_sums", "scores"), state)


def _state(whole: object, parts: Sequence[str]) -> State:
    found = {name: getattr(whole, name).state() for name in parts}
    return {f"{name}.{key}": values for name, state in found.items() for key, values in state.items()}


def _restore(whole: object, parts: Sequence[str], state: State) -> None:
    for name in parts:
        getattr(whole, name).restore(below(state, name))


_PARTS = ("activity", "histogram", "token_sums", "top_windows", "shuffled_sums", "scores", "shuffled_scores")


def drawn(n: int, at_most: int, seed: int) -> NDArray[np.int64]:
    """Numbers below n in increasing order: all of them, or `at_most` drawn at random."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size=at_most, replace=False))
