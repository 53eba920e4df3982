"""Units that fire together: for each the others with the largest φ.

n₁₁ rows on which both fire, n₁ and n₂ those of each, of N
φ = (N n₁₁ − n₁ n₂) / √(n₁ (N − n₁) n₂ (N − n₂))      correlation of the two indicators
Jaccard = n₁₁ / (n₁ + n₂ − n₁₁)                        PMI = log₂ (N n₁₁ / n₁ n₂), bits

n₁₁ is counted for a unit with all later ones at a time: there is never a matrix of all pairs. Counting goes through the
firings, or, where units fire so often that it is less, through all rows as bits, 64 at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from actpipe.analysis.bits import ones
from actpipe.analysis.compiled import compiled

FEWEST = 20  # rows together: below, φ of two rare units is chance as often as not
KEEP = 32
_UNITS_AT_ONCE = 16  # their bits stay in the cache: 8 kB each at 65,536 rows
_WORDS_A_FIRING = 10  # words of 64 rows that are compared in the time of one firing; measured at 2304 units

Counts = NDArray[np.int64]


class Cofiring(NamedTuple):
    """Pairs in order of unit and rank; all [p]."""

    unit: NDArray[np.int32]
    other: NDArray[np.int32]
    rank: NDArray[np.int32]
    together: NDArray[np.int64]  # n₁₁
    phi: NDArray[np.float64]
    jaccard: NDArray[np.float64]
    pmi: NDArray[np.float64]


def cofiring(codes: sp.csr_matrix, *, keep: int = KEEP, fewest: int = FEWEST) -> Cofiring:
    """Of the columns of `codes` [N, n], with at least `fewest` rows together; nothing is listed where φ ≤ 0."""
    n_rows, n_units = codes.shape
    starts, units = codes.indptr.astype(np.int64), codes.indices.astype(np.uint32)
    count = np.bincount(codes.indices, minlength=n_units)
    best = _Best(np.full((n_units, keep), -1, np.int32), np.zeros((n_units, keep), np.int64), np.zeros((n_units, keep)))
    firings = int((np.diff(starts) ** 2).sum())
    counted = _by_bits if firings * _WORDS_A_FIRING > n_units**2 * (n_rows // 64 + 1) else _by_firings
    counted(starts, units, count, fewest, best)
    unit, rank = np.nonzero(best.other >= 0)
    other, n = best.other[unit, rank], best.together[unit, rank]
    one, two = count[unit].astype(np.float64), count[other].astype(np.float64)
    return Cofiring(
        unit.astype(np.int32),
        other,
        rank.astype(np.int32),
        n,
        best.phi[unit, rank],
        n / (one + two - n),
        np.log2(n_rows * n / (one * two)),
    )


class _Best(NamedTuple):
    """Of each unit those that fire with it most, largest φ first; all [n, keep]."""

    other: NDArray[np.int32]  # −1: there are no more
    together: NDArray[np.int64]
    phi: NDArray[np.float64]


@compiled
def _by_firings(starts: Counts, units: NDArray[np.uint32], count: Counts, fewest: int, best: _Best) -> None:
    n_rows, n = len(starts) - 1, len(count)
    first = np.zeros(n + 1, np.int64)  # of each unit's firings
    first[1:] = np.cumsum(count)
    place, at, until = first.copy(), np.empty(len(units), np.int64), np.empty(len(units), np.int64)
    for row in range(n_rows):
        for i in range(starts[row], starts[row + 1]):
            at[place[units[i]]], until[place[units[i]]] = i, starts[row + 1]
            place[units[i]] += 1
    together = np.zeros(n, np.int32)
    for unit in range(n):
        together[:] = 0
        for j in range(first[unit], first[unit + 1]):
            for i in range(at[j] + 1, until[j]):  # units of a row are in order
                together[units[i]] += 1
        for other in range(unit + 1, n):
            if together[other] >= fewest:
                _met(n_rows, count, unit, other, np.int64(together[other]), best)


@compiled
def _by_bits(starts: Counts, units: NDArray[np.uint32], count: Counts, fewest: int, best: _Best) -> None:
    n_rows, n = len(starts) - 1, len(count)
    bits = np.zeros((n, n_rows // 64 + 1), np.uint64)
    for row in range(n_rows):
        for i in range(starts[row], starts[row + 1]):
            bits[units[i], row >> 6] |= np.uint64(1) << np.uint64(row & 63)
    together = np.zeros(_UNITS_AT_ONCE, np.uint64)
    for first in range(0, n, _UNITS_AT_ONCE):
        for other in range(first + 1, n):  # its words are read once for these units
            stop = min(first + _UNITS_AT_ONCE, other)
            together[:] = 0
            for unit in range(first, stop):
                same = np.uint64(0)
                for word in range(bits.shape[1]):
                    same += ones(bits[unit, word] & bits[other, word])
                together[unit - first] = same
            for unit in range(first, stop):
                if together[unit - first] >= fewest:
                    _met(n_rows, count, unit, other, np.int64(together[unit - first]), best)


@compiled
def _met(n_rows: int, count: Counts, one: int, two: int, together: np.int64, best: _Best) -> None:
    """Enters a pair for both of its units. Pairs come in order of either, and of equal φ the first stays first."""
    n, n1, n2 = float(n_rows), float(count[one]), float(count[two])
    scale = np.sqrt(n1 * (n - n1) * n2 * (n - n2))
    # A unit that fires on every row has no correlation with anything.
    phi = (n * together - n1 * n2) / scale if scale > 0 else 0.0
    keep = best.phi.shape[1]
    for unit, other in ((one, two), (two, one)):
        if phi <= best.phi[unit, keep - 1]:
            continue
        place = keep - 1
        while place > 0 and best.phi[unit, place - 1] < phi:
            best.other[unit, place] = best.other[unit, place - 1]
            best.together[unit, place] = best.together[unit, place - 1]
            best.phi[unit, place] = best.phi[unit, place - 1]
            place -= 1
        best.other[unit, place], best.together[unit, place], best.phi[unit, place] = other, together, phi
