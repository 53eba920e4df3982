"""Ratios of sums over documents, with intervals: documents are drawn again, not tokens, which are not independent.

value = Σ_d top_d / Σ_d bottom_d          low, high: 2.5 % and 97.5 % of the same over documents drawn with
                                          replacement
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LOW, HIGH = 2.5, 97.5  # percentiles


@dataclass(frozen=True)
class Estimate:
    """All of one shape; NaN where a ratio has no denominator."""

    value: Floats
    low: Floats
    high: Floats
    n: NDArray[np.int64]  # documents with a share in the denominator

    def at(self, place: int | tuple[int, ...]) -> Estimate:
        return Estimate(*(np.asarray(each[place]) for each in (self.value, self.low, self.high, self.n)))


def document_weights(documents: int, *, draws: int, seed: int) -> Floats:
    """[draws, documents]: how often each document is drawn."""
    random = np.random.default_rng(seed)
    return random.multinomial(documents, np.full(documents, 1 / documents), size=draws).astype(np.float64)


def ratio(top: Floats, bottom: Floats, weights: Floats) -> Estimate:
    """`top`, `bottom` [documents, …] sums of each document. With fewer than two documents there is no interval."""
    n = (bottom != 0).sum(axis=0)
    below = np.tensordot(weights, bottom, axes=1)
    drawn = _divided(np.tensordot(weights, top, axes=1), below)
    value = _divided(top.sum(axis=0), bottom.sum(axis=0))
    low, high = _interval(drawn)
    few = n < 2
    return Estimate(value, np.where(few, np.nan, low), np.where(few, np.nan, high), n)


def plain(value: float, n: int) -> Estimate:
    """A number without an interval."""
    return Estimate(np.array(value), np.array(np.nan), np.array(np.nan), np.array(n))


def resampled(value: float, drawn: Floats, n: int) -> Estimate:
    """A number and what came out of draws [draws] of whatever it was made of; no interval of one thing,
    or without a number."""
    nothing = np.array(np.nan)
    low, high = _interval(drawn) if np.isfinite(value) and n > 1 else (nothing, nothing)
    return Estimate(np.array(value), low, high, np.array(n))


def _divided(top: Floats, bottom: Floats) -> Floats:
    found: Floats = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom != 0)
    return found


def _interval(drawn: Floats) -> tuple[Floats, Floats]:
    """Percentiles over the first axis, of what is defined."""
    defined = np.isfinite(drawn).any(axis=0)
    low, high = np.full((2, *drawn.shape[1:]), np.nan)
    if defined.any():
        low, high = np.nanpercentile(np.where(defined, drawn, 0.0), [LOW, HIGH], axis=0)
    return np.where(defined, low, np.nan), np.where(defined, high, np.nan)
