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
ALIKE = 0.7  # correlation from which on two units do the same


class BestFunction(NamedTuple):
    """For each unit [n] the unit of another set with the largest correlation; NaN where the unit fires too rarely."""

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


def functional_match(first: CodeSample, second: CodeSample, *, work: int = WORK) -> Functional:
    (row, a), (_, b) = in_common(first, second, work=work)
    found, chance = _Correlated(a, b), _Correlated(a, _moved(b))
    return Functional(
        rows=len(row),
        forward=found.forward,
        backward=found.backward,
        chance_forward=chance.forward.correlation,
        chance_backward=chance.backward.correlation,
        mcc=found.mcc,
        mcc_chance=chance.mcc,
        codes=(a.tocsc(), b.tocsc()),
    )


class _Correlated:
    def __init__(self, a: sp.csr_matrix, b: sp.csr_matrix) -> None:
        often = tuple(_often(each) for each in (a, b))
        n, m = a.shape[1], b.shape[1]
        best, other = np.full(n, -np.inf), np.full(n, -1)
        back, back_other = np.full(m, -np.inf), np.full(m, -1)
        dense = np.zeros((n, m), np.float32) if max(n, m) <= ASSIGNED else None
        for unit, column, r in _correlations(a, b):
            if dense is not None:
                dense[unit, column] = r
            _raise(best, other, unit, column, r)
            _raise(back, back_other, column, unit, r)
        self.forward = BestFunction(other, _defined(best, often[0]))
        self.backward = BestFunction(back_other, _defined(back, often[1]))
        self.mcc = math.nan if dense is None else _mcc(dense[np.ix_(*often)])


def _mcc(found: NDArray[np.float32]) -> float:
    """Over the units that fire often enough, of the set that has fewer of them."""
    from scipy.optimize import linear_sum_assignment

    if not found.size:
        return math.nan
    return float(found[linear_sum_assignment(found, maximize=True)].mean(dtype=np.float64))


Triplets = tuple[NDArray[np.int64], NDArray[np.int64], Floats]


def _correlations(a: sp.csr_matrix, b: sp.csr_matrix) -> Iterator[Triplets]:
    """Unit, other unit, r: of pairs that fire together, both often enough."""
    n_rows = a.shape[0]
    (mean_a, spread_a), (mean_b, spread_b) = (_moments(each) for each in (a, b))
    for first, sums in products(a, b):
        unit = np.repeat(np.arange(sums.shape[0]) + first, np.diff(sums.indptr))
        column = sums.indices.astype(np.int64)
        asked = (spread_a[unit] > 0) & (spread_b[column] > 0)
        unit, column, together = unit[asked], column[asked], sums.data[asked].astype(np.float64)
        r = (together / n_rows - mean_a[unit] * mean_b[column]) / (spread_a[unit] * spread_b[column])
        yield unit, column, r


def _often(codes: sp.csr_matrix) -> NDArray[np.bool_]:
    often: NDArray[np.bool_] = np.bincount(codes.indices, minlength=codes.shape[1]) >= FEWEST
    return often


def _moments(codes: sp.csr_matrix) -> tuple[Floats, Floats]:
    """Mean and standard deviation over rows [n]; 0 for a unit that fires too rarely, which leaves it out."""
    n_rows, n = max(codes.shape[0], 1), codes.shape[1]
    value = codes.data.astype(np.float64)
    mean = np.bincount(codes.indices, weights=value, minlength=n) / n_rows
    square = np.bincount(codes.indices, weights=value**2, minlength=n) / n_rows
    return mean, np.where(_often(codes), np.sqrt(np.maximum(square - mean**2, 0)), 0.0)


def _raise(
    best: Floats, other: NDArray[np.int64], unit: NDArray[np.int64], with_: NDArray[np.int64], r: Floats
) -> None:
    """Where `r` is larger than what a unit has; of equal ones the lowest number, in whatever blocks they come."""
    if not len(unit):
        return
    order = np.lexsort((with_, -r, unit))
    first = order[np.concatenate([[True], np.diff(unit[order]) > 0])]
    u, v, value = unit[first], with_[first], r[first]
    better = (value > best[u]) | ((value == best[u]) & (v < other[u]))
    best[u[better]], other[u[better]] = value[better], v[better]


def _defined(best: Floats, often: NDArray[np.bool_]) -> Floats:
    """A unit that fires often and never with another has no positive correlation: 0 stands for it."""
    return np.where(often, np.where(np.isfinite(best), best, 0.0), np.nan)


def _moved(codes: sp.csr_matrix) -> sp.csr_matrix:
    return codes[np.roll(np.arange(codes.shape[0]), codes.shape[0] // 2)]


class OfPairs(NamedTuple):
    correlation: Floats
    jaccard: Floats


def of_pairs(found: Functional, unit: NDArray[np.int64], other: NDArray[np.int64], *, at_once: int = 256) -> OfPairs:
    """Correlation and Jaccard index of firing of given pairs [p]; NaN where one of the two fires too rarely."""
    a, b = found.codes
    (mean_a, spread_a), (mean_b, spread_b) = (_moments(each.tocsr()) for each in (a, b))
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
