"""Estimates of the whole text from windows drawn with known probabilities, each with its standard error.

    total      Σ ω y                             Horvitz and Thompson (1952); unbiased
    mean       Σ ω y / Σ ω                       Hájek (1971); likewise every ratio of totals
    correlation of a and c over all tokens or windows, with weighted means and variances

Standard errors are linearised (Taylor; Särndal, Swensson and Wretman 1992, 5.5): a statistic θ of totals varies as the
total of z_i = ∂θ/∂ω_i does, and of a sample drawn without replacement within strata h

    Var(Σ ω z) = Σ_h (1 − f_h) · n_h/(n_h − 1) · Σ_{i∈h} (ω_i z_i − mean_h)²       f_h = n_h/N_h

f_h is 0 where a window stands for others of its document: then the whole stratum being drawn leaves variance, and this
is a little too large rather than too small. Where few windows decide they are too small: of a judge with a false
positive rate of 0.02, 200 silent windows hold four errors, and the standard error of the correlation is a quarter less
than its spread (two of it still hold the truth in 93 % of draws); from 500 windows on it is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from .frame import Ints

Floats = NDArray[np.float64]
REPRESENTATIVE = ("decile_", "uniform")  # strata that together are the frame, each tile once


class Estimate(NamedTuple):
    value: float  # NaN where undefined
    standard_error: float  # NaN where a stratum of more than one has only one window drawn


@dataclass(frozen=True)
class Design:
    """How the windows were drawn; all [m]. Of one unit, or of several if they have strata of their own."""

    stratum: Ints  # any number
    weight: Floats  # ω
    population: Ints  # N of the window's stratum
    sample: Ints  # n

    def take(self, chosen: NDArray[np.bool_]) -> Design:
        """A stratum is taken whole or not at all."""
        return Design(self.stratum[chosen], self.weight[chosen], self.population[chosen], self.sample[chosen])

    def standard_error(self, z: Floats) -> float:
        """Of Σ ω z."""
        _, group = np.unique(self.stratum, return_inverse=True)
        n = np.bincount(group)
        term = self.weight * z
        mean = np.bincount(group, weights=term) / n
        squares = np.bincount(group, weights=(term - mean[group]) ** 2)
        each, population, sample = np.ones_like(n), np.ones_like(n), np.ones_like(n)
        population[group], sample[group] = self.population, self.sample
        np.maximum.at(each, group, np.round(self.weight * self.sample / self.population).astype(n.dtype))
        rest = np.where(each > 1, 1.0, 1 - sample / population)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.where(rest > 0, rest * n / (n - 1) * squares, 0)  # 0/0: one window of several
        return float(np.sqrt(variance.sum()))


def representative(table: pa.Table) -> tuple[Design, Ints]:
    """The design of one unit's rows of the table `samples`, and which rows these are."""
    names = np.array(table["stratum"].to_pylist(), dtype=str)
    index = np.flatnonzero(np.char.startswith(names, REPRESENTATIVE[0]) | (names == REPRESENTATIVE[1]))
    columns = (table[name].to_numpy()[index] for name in ("weight", "population", "sample"))
    weight, population, sample = columns
    _, stratum = np.unique(names[index], return_inverse=True)
    return Design(stratum, weight.astype(np.float64), population.astype(np.int64), sample.astype(np.int64)), index


def total(design: Design, y: ArrayLike) -> Estimate:
    values = np.asarray(y, np.float64)
    return Estimate(float(design.weight @ values), design.standard_error(values))


def ratio(design: Design, y: ArrayLike, x: ArrayLike) -> Estimate:
    """Σωy/Σωx: with x = [a > θ] and y = x·ĉ the true positive rate, for example."""
    top, bottom = np.asarray(y, np.float64), np.asarray(x, np.float64)
    below = float(design.weight @ bottom)
    if below == 0:
        return Estimate(np.nan, np.nan)
    value = float(design.weight @ top) / below
    return Estimate(value, design.standard_error((top - value * bottom) / below))


def mean(design: Design, y: ArrayLike) -> Estimate:
    values = np.asarray(y, np.float64)
    return ratio(design, values, np.ones_like(values))


def correlation(design: Design, a: ArrayLike, c: ArrayLike) -> Estimate:
    """Pearson's, of windows [m] or of all their tokens [m, tokens] with NaN in both where a window has no token.

    z = Σ_tokens (u v − ρ (u² + v²)/2) / Σω·tokens with u, v standardised.
    """
    x, y = (np.asarray(each, np.float64).reshape(len(design.weight), -1) for each in (a, c))
    w = design.weight[:, None] * ~np.isnan(x)
    x, y = np.nan_to_num(x), np.nan_to_num(y)
    n = w.sum()
    if n == 0:
        return Estimate(np.nan, np.nan)
    x, y = x - (w * x).sum() / n, y - (w * y).sum() / n
    spread_x, spread_y = np.sqrt((w * x * x).sum() / n), np.sqrt((w * y * y).sum() / n)
    if spread_x == 0 or spread_y == 0:
        return Estimate(np.nan, np.nan)
    u, v = x / spread_x, y / spread_y
    value = float((w * u * v).sum() / n)
    each = np.where(w > 0, u * v - value * (u * u + v * v) / 2, 0)
    return Estimate(value, design.standard_error(each.sum(axis=1) / n))


def bound_of_none(n: int, confidence: float = 0.95) -> float:
    """Upper bound of a share of which `n` windows drawn with equal probability showed none: about 3/n."""
    return float(1 - (1 - confidence) ** (1 / n)) if n else 1.0
