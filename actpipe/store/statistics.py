"""Means and variances of a hook's rows: per slab while it is written, merged over the committed slabs when asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Of the stored values of the rows whose mask is true, in committed slabs."""

    count: int
    mean: Floats
    """[width]"""
    variance: Floats
    """[width], of the population (divided by the count)"""

    @property
    def mean_square(self) -> float:
        """E‖x‖², the mean squared length of a row."""
        return float(np.sum(self.variance + self.mean**2))


def merge(parts: Iterable[tuple[int, NDArray[Any]]], width: int) -> Statistics:
    """Join (count, [mean, centred sum of squares]) of disjoint sets of rows by Chan's formula."""
    count, mean, squares = 0, np.zeros(width), np.zeros(width)
    for n, (part_mean, part_squares) in parts:
        if n == 0:
            continue
        total = count + n
        delta = part_mean - mean
        squares = squares + part_squares + delta**2 * (count * n / total)
        mean = mean + delta * (n / total)
        count = total
    return Statistics(count, mean, squares / max(count, 1))
