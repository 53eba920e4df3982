"""What can be said with two or three seeds: Student's interval of a mean, and values between the points of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return self.shown("{:.3f}")

    def shown(self, form: str) -> str:
        value, low, high = (form.format(number) for number in self[:3])
        return value if math.isnan(self.low) else f"{value} [{low}, {high}]"


def mean_of(values: Sequence[float]) -> Interval:
    """Mean with Student's 95 % interval over seeds; no interval of one."""
    from scipy import stats

    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def span_of(values: Sequence[float]) -> Interval:
    """Mean with the least and the largest, for values that are not independent draws."""
    return Interval(float(np.mean(values)), float(min(values)), float(max(values)), len(values))


def between(at: float, x: Sequence[float], y: Sequence[float]) -> float:
    """y at `at`, linear between neighbouring points; NaN outside of them, never extrapolated."""
    order = np.argsort(x)
    return float(np.interp(at, np.asarray(x)[order], np.asarray(y)[order], left=math.nan, right=math.nan))
