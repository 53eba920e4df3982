"""Whether units of two sets do the same: correlation of their activations on the same rows.

    r(u, v) = (Σ_t a_u b_v − N μ_u μ_v) / (N σ_u σ_v)          of a unit with all others at a time

Units of different models can be matched only so, and of one model better so than by directions: two dictionaries of
short trainings may be as far apart as random ones and reconstruct alike. The null moves one side by half of the sample:
each unit keeps its density and its bursts, and meets other text.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled

from .assignment import mean_of_best_pairs
from .code_sample import CodeSample, in_common
from .directions import ASSIGNED, Floats

WORK = 1 << 28  # additions of one product: half a second
FEWEST = 20  # firings on the sampled rows; the correlation of a rarer unit with its best of thousands is chance
_RESOLVED = 1e-3  # of the mean square: what varies less does so by the rounding of stored activations, in part
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
    moments, by_unit = (_moments(a), _moments(b)), a.tocsc()
    found, chance = _correlated(by_unit, b, moments), _correlated(by_unit, b, moments, moved=len(row) // 2)
    return Functional(
        rows=len(row),
        forward=found.forward,
        backward=found.backward,
        chance_forward=chance.forward.correlation,
        chance_backward=chance.backward.correlation,
        mcc=found.mcc,
        mcc_chance=chance.mcc,
        codes=(by_unit, b.tocsc()),
        moments=moments,
    )


class _Correlated(NamedTuple):
    forward: BestFunction
    backward: BestFunction
    mcc: float


def _correlated(a: sp.csc_matrix, b: sp.csr_matrix, moments: tuple[Moments, Moments], *, moved: int = 0) -> _Correlated:
    """`moved`: row t of A is held against row t − `moved` of B, in a circle."""
    n, m = a.shape[1], b.shape[1]
    # There is a matrix of all pairs only where it is small.
    table = np.zeros((n, m) if max(n, m) <= ASSIGNED else (0, 0), np.float32)
    best, other = (np.full(n, -np.inf), np.full(m, -np.inf)), (np.full(n, -1), np.full(m, -1))
    _correlate(_compressed(a), _compressed(b), *moments, moved, best, other, table)
    of_a, of_b = moments
    return _Correlated(
        forward=_best(other[0], best[0], of_a.asked),
        backward=_best(other[1], best[1], of_b.asked),
        mcc=mean_of_best_pairs(table[np.ix_(of_a.asked, of_b.asked)]) if table.size else math.nan,
    )


_Compressed = tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float32]]  # starts, indices, values


def _compressed(codes: sp.csr_matrix | sp.csc_matrix) -> _Compressed:
    return codes.indptr.astype(np.int64), codes.indices.astype(np.uint32), codes.data


@compiled
def _correlate(
    a: _Compressed,
    b: _Compressed,
    of_a: Moments,
    of_b: Moments,
    moved: int,
    best: tuple[Floats, Floats],
    other: tuple[NDArray[np.int64], NDArray[np.int64]],
    table: NDArray[np.float32],
) -> None:
    """Fills the last three with r of pairs that fire together, both often enough; of equal ones the lowest number.
    `a` by unit, `b` by row."""
    (of_unit, row, value), (of_row, unit, other_value) = a, b
    n_rows, sums = len(of_row) - 1, np.zeros(len(of_b.mean))
    for u in range(len(of_a.mean)):
        if of_a.spread[u] == 0:
            continue
        sums[:] = 0
        for i in range(of_unit[u], of_unit[u + 1]):
            there = (np.int64(row[i]) - moved) % n_rows
            for j in range(of_row[there], of_row[there + 1]):
                sums[unit[j]] += np.float64(value[i]) * np.float64(other_value[j])
        for v in range(len(sums)):
            if sums[v] == 0 or of_b.spread[v] == 0:
                continue
            r = (sums[v] / n_rows - of_a.mean[u] * of_b.mean[v]) / (of_a.spread[u] * of_b.spread[v])
            if len(table):
                table[u, v] = r
            if r > best[0][u]:
                best[0][u], other[0][u] = r, v
            if r > best[1][v]:
                best[1][v], other[1][v] = r, u


def _moments(codes: sp.csr_matrix) -> Moments:
    """Spread 0 for a unit that fires too rarely, or varies too little."""
    n_rows, n = max(codes.shape[0], 1), codes.shape[1]
    value = codes.data.astype(np.float64)
    mean = np.bincount(codes.indices, weights=value, minlength=n) / n_rows
    square = np.bincount(codes.indices, weights=value**2, minlength=n) / n_rows
    variance = square - mean**2
    asked = (np.bincount(codes.indices, minlength=n) >= FEWEST) & (variance > _RESOLVED * square)
    return Moments(mean, np.sqrt(np.where(asked, variance, 0.0)))


def _best(other: NDArray[np.int64], best: Floats, often: NDArray[np.bool_]) -> BestFunction:
    """A unit that fires often and never with another has no positive correlation: 0 stands for it."""
    return BestFunction(other, np.where(often, np.where(other >= 0, best, 0.0), np.nan))


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
