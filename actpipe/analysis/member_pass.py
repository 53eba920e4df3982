"""Everything that one pass over the rows gathers about the units of one dictionary."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import sae

from .activity import Activity
from .corpus import Corpus
from .firings import Firings, firings
from .histogram import Histogram
from .rows import Rows
from .token_sums import TokenSums
from .top_windows import TopWindows

CONTROL_UNITS = 256  # a member and control; medians of 256 are steady, and they cost a fraction of the whole


class MemberPass:
    """Accumulators of `units` (feature numbers, increasing) of a dictionary; merges with another part of the same."""

    def __init__(
        self,
        dictionary: sae.Dictionary,
        units: NDArray[np.int64],
        corpus: Corpus,
        edges: NDArray[np.float64],
        seed: int,
    ) -> None:
        self.dictionary, self.units, self.corpus = dictionary, units, corpus
        self.activity = Activity(len(units))
        self.histogram = Histogram(len(units), edges)
        self.token_sums = TokenSums(corpus.vocabulary)
        self.top_windows = TopWindows(len(units))
        # Control shuffled_tokens: indices into `units`, and their sums over tokens drawn at random.
        self.shuffled_units = drawn(len(units), CONTROL_UNITS, seed)
        self.shuffled_sums = TokenSums(corpus.vocabulary)
        self._is_shuffled = np.isin(np.arange(len(units)), self.shuffled_units)
        self.not_finite = 0  # codes that were NaN or infinite, and count as zero

    def consume(self, rows: Rows, x: Tensor) -> None:
        """`x` [B, d]: the activations of `rows`, on the dictionary's device."""
        batch = firings(rows, self._codes(x))
        self.activity.update(batch)
        self.histogram.update(batch)
        self.top_windows.update(batch)
        self.token_sums.update(batch.unit, rows.tokens[batch.row], batch.value)
        self._shuffle(batch)

    def merge(self, other: Self) -> None:
        self.activity.merge(other.activity)
        self.histogram.merge(other.histogram)
        self.token_sums.merge(other.token_sums)
        self.top_windows.merge(other.top_windows)
        self.shuffled_sums.merge(other.shuffled_sums)
        self.not_finite += other.not_finite

    def _codes(self, x: Tensor) -> NDArray[np.float32]:
        codes = self.dictionary.encode(x)
        if len(self.units) < codes.shape[1]:
            codes = codes[:, torch.from_numpy(self.units).to(codes.device)]
        values: NDArray[np.float32] = codes.float().cpu().numpy()
        if not np.isfinite(values.sum(dtype=np.float64)):  # NaN and infinity survive a sum
            bad = ~np.isfinite(values)
            self.not_finite += int(bad.sum())
            values = np.where(bad, np.float32(0), values)
        return values

    def _shuffle(self, batch: Firings) -> None:
        chosen = self._is_shuffled[batch.unit]
        tokens = self.corpus.random_tokens(batch.rows)
        self.shuffled_sums.update(batch.unit[chosen], tokens[batch.row[chosen]], batch.value[chosen])


def drawn(n: int, at_most: int, seed: int) -> NDArray[np.int64]:
    """Numbers below n in increasing order: all of them, or `at_most` drawn at random."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size=at_most, replace=False))
