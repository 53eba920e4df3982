"""Whether units of two sets do the same: correlation of their activations on the same rows.

    r(u, v) = (Σ_t a_u b_v − N μ_u μ_v) / (N σ_u σ_v)          from sparse AᵀB

Units of different models can be matched only so, and of one model better so than by directions: two dictionaries of
short trainings may be as far apart as random ones and reconstruct alike. The null moves one side by half of the sample:
each unit keeps its density and its bursts, and meets other text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .code_sample import CodeSample, in_common
from .directions import ASSIGNED, Floats
from .products import products

WORK = 1 << 28  # additions of one product: 2 s of a core
FEWEST = 20  # firings on the sampled rows; the correlation of a rarer unit with its best of thousands is chance
_RESOLVED = 1e-3  # of the mean square: sums of 10⁵ float32 products are good to 1e-5 of it, so r is to 0.01
_NOBODY = np.iinfo(np.int64).max
ALIKE = 0.7  # correlation from which on two units do the same


class Moments(NamedTuple):
    """Over rows, [n]."""

    mean: Floats
    spread: Floats  # standard deviation; 0 leaves a unit out

    @property
    def asked(self) -> NDArray[np.bool_]:
        return self.spread > 0


class BestFunction(NamedTuple):
    """For each unit [n] the unit of another set with the largest correlation; NaN where it fires too rarely or does not
    vary."""

    other: NDArray[np.int64]  # −1 where it fires with none
    correlation: Floats


class Functional(NamedTuple):
    rows: int  # both were looked at on
    forward: BestFunction
    backward: BestFunction
    chance_forward: Floats  # [n] the same correlation with the rows of the other set moved
    chance_backward: Floats  # [m]
    mcc: float  # mean correlation of the best one-to-one pairs; NaN beyond ASSIGNED units
    mcc_chance: float
    codes: tuple[sp.csc_matrix, sp.csc_matrix]  # what it is computed from
    moments: tuple[Moments, Moments]

    def turned(self) -> Functional:
        """As the second set sees it."""
        return self._replace(
            forward=self.backward,
            backward=self.forward,
            chance_forward=self.chance_backward,
            chance_backward=self.chance_forward,
            codes=self.codes[::-1],
            moments=self.moments[::-1],
        )


def functional_match(first: CodeSample, second: CodeSample, *, work: int = WORK) -> Functional:
    (row, a), (_, b) = in_common(first, second, work=work)
    moments = _moments(a), _moments(b)
    found, chance = _Correlated(a, b, *moments), _Correlated(a, _moved(b), *moments)
    return Functional(
        rows=len(row),
        forward=found.forward,
        backward=found.backward,
        chance_forward=chance.forward.correlation,
        chance_backward=chance.backward.correlation,
        mcc=found.mcc,
        mcc_chance=chance.mcc,
        codes=(a.tocsc(), b.tocsc()),
        moments=moments,
    )


class _Correlated:
    def __init__(self, a: sp.csr_matrix, b: sp.csr_matrix, of_a: Moments, of_b: Moments) -> None:
        n, m = a.shape[1], b.shape[1]
        best, other = np.full(n, -np.inf), np.full(n, _NOBODY)
        back, back_other = np.full(m, -np.inf), np.full(m, _NOBODY)
        dense = np.zeros((n, m), np.float32) if max(n, m) <= ASSIGNED else None
        for unit, column, r in _correlations(a, b, of_a, of_b):
            if dense is not None:
                dense[unit, column] = r
            _raise(best, other, unit, column, r)
            _raise(back, back_other, column, unit, r)
        self.forward = _best(other, best, of_a.asked)
        self.backward = _best(back_other, back, of_b.asked)
        self.mcc = math.nan if dense is None else _mcc(dense[np.ix_(of_a.asked, of_b.asked)])


def _mcc(found: NDArray[np.float32]) -> float:
    """Over the units that fire often enough, of the set that has fewer of them."""
    from scipy.optimize import linear_sum_assignment

    if not found.size:
        return math.nan
    return float(found[linear_sum_assignment(found, maximize=True)].mean(dtype=np.float64))


Triplets = tuple[NDArray[np.int64], NDArray[np.int64], Floats]


def _correlations(a: sp.csr_matrix, b: sp.csr_matrix, of_a: Moments, of_b: Moments) -> Iterator[Triplets]:
    """Unit, other unit, r: of pairs that fire together, both often enough."""
    n_rows, (mean_a, spread_a), (mean_b, spread_b) = a.shape[0], of_a, of_b
    for first, sums in products(a, b):
        unit = np.repeat(np.arange(sums.shape[0]) + first, np.diff(sums.indptr))
        column = sums.indices.astype(np.int64)
        asked = (spread_a[unit] > 0) & (spread_b[column] > 0)
        unit, column, together = unit[asked], column[asked], sums.data[asked].astype(np.float64)
        r = (together / n_rows - mean_a[unit] * mean_b[column]) / (spread_a[unit] * spread_b[column])
        yield unit, column, r


def _moments(codes: sp.csr_matrix) -> Moments:
    """Spread 0 for a unit that fires too rarely, or varies so little that float32 products cannot tell."""
    n_rows, n = max(codes.shape[0], 1), codes.shape[1]
    value = codes.data.astype(np.float64)
    mean = np.bincount(codes.indices, weights=value, minlength=n) / n_rows
    square = np.bincount(codes.indices, weights=value**2, minlength=n) / n_rows
    variance = square - mean**2
    asked = (np.bincount(codes.indices, minlength=n) >= FEWEST) & (variance > _RESOLVED * square)
    return Moments(mean, np.sqrt(np.where(asked, variance, 0.0)))


def _raise(
    best: Floats, other: NDArray[np.int64], unit: NDArray[np.int64], with_: NDArray[np.int64], r: Floats
) -> None:
    """Where `r` is larger than what a unit has; of equal ones the lowest number, in whatever blocks they come."""
    before = best.copy()
    np.maximum.at(best, unit, r)
    other[best > before] = _NOBODY
    largest = r == best[unit]
    np.minimum.at(other, unit[largest], with_[largest])


def _best(other: NDArray[np.int64], best: Floats, often: NDArray[np.bool_]) -> BestFunction:
    """A unit that fires often and never with another has no positive correlation: 0 stands for it."""
    met = other < _NOBODY
    return BestFunction(np.where(met, other, -1), np.where(often, np.where(met, best, 0.0), np.nan))


def _moved(codes: sp.csr_matrix) -> sp.csr_matrix:
    return codes[np.roll(np.arange(codes.shape[0]), codes.shape[0] // 2)]


class OfPairs(NamedTuple):
    correlation: Floats
    jaccard: Floats


def of_pairs(found: Functional, unit: NDArray[np.int64], other: NDArray[np.int64], *, at_once: int = 256) -> OfPairs:
    """Correlation and Jaccard index of firing of given pairs [p]; NaN where one of the two fires too rarely."""
    a, b = found.codes
    (mean_a, spread_a), (mean_b, spread_b) = found.moments
    products_, together = np.zeros((2, len(unit)))
    for start in range(0, len(unit), at_once):
        here = slice(start, start + at_once)
        both = a[:, unit[here]].multiply(b[:, other[here]])
        products_[here] = np.asarray(both.sum(axis=0)).reshape(-1)
        together[here] = np.asarray(both.astype(bool).sum(axis=0)).reshape(-1)
    scale = spread_a[unit] * spread_b[other]
    count_a, count_b = np.diff(a.indptr)[unit], np.diff(b.indptr)[other]
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(scale > 0, (products_ / found.rows - mean_a[unit] * mean_b[other]) / scale, np.nan)
        jaccard = np.where(scale > 0, together / (count_a + count_b - together), np.nan)
    return OfPairs(r, jaccard)
