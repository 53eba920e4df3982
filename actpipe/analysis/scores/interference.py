"""Does an explanation hold as well for weak firings as for strong ones (T10)?

Deciles of a unit's activation are cut on the profile split, from counts in bins of an eighth of an octave: a bin goes
whole to the decile of its middle, so deciles are of a tenth each up to a bin. A unit that always fires with the same
strength has one decile. For every decile on the score split

    recall_d    = share of its firings that the explanation predicts
    precision_d = π₀·recall_d / (π₀·recall_d + (1 − π₀)·FPR), among the rows of this decile and those that do not fire

and the slope is that of recall over the number of the decile, weighted by firings. A unit that means something else
when it fires weakly has a positive slope.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.agreement import PREVALENCE
from actpipe.analysis.compiled import compiled
from actpipe.analysis.firings import Firings

from .rule_lists import Floats, Ints

DECILES = 10
BINS = 256  # 32 octaves: from 2^−18 to 2^14, what is beyond goes to the ends
_PER_OCTAVE_BITS = 3
_LOWEST = (127 - 18) << _PER_OCTAVE_BITS  # 127: the bias of a float32's exponent
_LEAST_DECILES = 3  # with firings, for a slope


def bins(value: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Read off the exponent and the first bits of the mantissa, which grow with a positive number."""
    found: NDArray[np.uint8] = _bins(np.ascontiguousarray(value, np.float32).view(np.int32))
    return found


@compiled
def _bins(bits: Any) -> Any:
    found = np.empty(len(bits), np.uint8)
    for i in range(len(bits)):
        found[i] = min(max((bits[i] >> (23 - _PER_OCTAVE_BITS)) - _LOWEST, 0), BINS - 1)
    return found


def lower_edges() -> Floats:
    code = (np.arange(BINS, dtype=np.int32) + _LOWEST) << (23 - _PER_OCTAVE_BITS)
    return code.view(np.float32).astype(np.float64)


class Magnitudes:
    """How strongly units fire: counts by bin, 1 kB a unit."""

    def __init__(self, n_units: int) -> None:
        self.counts = np.zeros((n_units, BINS), dtype=np.int32)

    def update(self, batch: Firings) -> None:
        _count(self.counts, batch.unit, bins(batch.value))

    def merge(self, other: Self) -> None:
        self.counts += other.counts

    def decile_of_bin(self) -> NDArray[np.uint8]:
        """[n, BINS]"""
        total = self.counts.sum(axis=1, keepdims=True, dtype=np.int64)
        middle = np.cumsum(self.counts, axis=1, dtype=np.int64) - self.counts / 2
        share = np.divide(middle, total, out=np.zeros(self.counts.shape), where=total > 0)
        return np.asarray(np.minimum(share * DECILES, DECILES - 1).astype(np.uint8))


@compiled
def _count(counts: Any, unit: Any, which: Any) -> None:
    for i in range(len(unit)):
        counts[unit[i], which[i]] += 1


class Deciles(NamedTuple):
    firings: Ints  # [n, DECILES] on the score split
    predicted: Ints  # [n, DECILES] of them

    @property
    def recall(self) -> Floats:
        nothing = np.full(self.firings.shape, np.nan)
        return np.asarray(np.divide(self.predicted, self.firings, out=nothing, where=self.firings > 0))

    def precision(self, fpr: Floats) -> Floats:
        hit, false = PREVALENCE * self.recall, (1 - PREVALENCE) * fpr[:, None]
        return np.asarray(np.divide(hit, hit + false, out=np.full(hit.shape, np.nan), where=hit + false > 0))

    def slope(self) -> Floats:
        """[n] change of recall from one decile to the next; NaN where fewer than three deciles have firings."""
        weight, number = self.firings.astype(np.float64), np.arange(DECILES)
        recall = np.nan_to_num(self.recall)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (weight * number).sum(axis=1) / weight.sum(axis=1)
            away = weight * (number - mean[:, None])
            slope = (away * recall).sum(axis=1) / (away * number).sum(axis=1)
        return np.where((self.firings > 0).sum(axis=1) >= _LEAST_DECILES, slope, np.nan)
