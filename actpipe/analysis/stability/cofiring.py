"""Units that fire together: for each the others with the largest φ.

n₁₁ rows on which both fire, n₁ and n₂ those of each, of N
φ = (N n₁₁ − n₁ n₂) / √(n₁ (N − n₁) n₂ (N − n₂))      correlation of the two indicators
Jaccard = n₁₁ / (n₁ + n₂ − n₁₁)                        PMI = log₂ (N n₁₁ / n₁ n₂), bits
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .products import products

FEWEST = 20  # rows together: below, φ of two rare units is chance as often as not
KEEP = 32


class Cofiring(NamedTuple):
    """Pairs in order of unit and rank; all [p]."""

    unit: NDArray[np.int32]
    other: NDArray[np.int32]
    rank: NDArray[np.int32]
    together: NDArray[np.int64]  # n₁₁
    phi: NDArray[np.float64]
    jaccard: NDArray[np.float64]
    pmi: NDArray[np.float64]


_NOTHING = Cofiring(*(np.zeros(0, np.int32),) * 3, np.zeros(0, np.int64), *(np.zeros(0),) * 3)


def cofiring(codes: sp.csr_matrix, *, keep: int = KEEP, fewest: int = FEWEST) -> Cofiring:
    """Of the columns of `codes` [N, n], with at least `fewest` rows together; nothing is listed where φ ≤ 0."""
    fires = sp.csr_matrix((np.ones(codes.nnz, np.float32), codes.indices, codes.indptr), shape=codes.shape)
    count = np.bincount(codes.indices, minlength=codes.shape[1]).astype(np.float64)
    parts = list(_blocks(fires, count, keep, fewest))
    return Cofiring(*(np.concatenate(columns) for columns in zip(_NOTHING, *parts, strict=True)))


def _blocks(fires: sp.csr_matrix, count: NDArray[np.float64], keep: int, fewest: int) -> Iterator[Cofiring]:
    n_rows = float(fires.shape[0])
    for first, sums in products(fires, fires):
        unit = np.repeat(np.arange(sums.shape[0]) + first, np.diff(sums.indptr))
        often = (sums.data >= fewest) & (sums.indices != unit)
        unit, other, together = unit[often], sums.indices[often], sums.data[often].astype(np.float64)
        one, two = count[unit], count[other]
        # A unit that fires on every row has no correlation with anything.
        scale = np.sqrt(one * (n_rows - one) * two * (n_rows - two))
        phi = np.where(scale > 0, (n_rows * together - one * two) / np.where(scale > 0, scale, 1), 0.0)
        positive = np.flatnonzero(phi > 0)
        order = positive[np.lexsort((other[positive], -phi[positive], unit[positive]))]
        rank = _ranks(unit[order])
        order, rank = order[rank < keep], rank[rank < keep]
        u, v, n, one, two = unit[order], other[order], together[order], one[order], two[order]
        yield Cofiring(
            u.astype(np.int32),
            v.astype(np.int32),
            rank.astype(np.int32),
            n.astype(np.int64),
            phi[order],
            n / (one + two - n),
            np.log2(n_rows * n / (one * two)),
        )


def _ranks(unit: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each entry among those of its unit; `unit` is in order."""
    place = np.arange(len(unit))
    starts = np.flatnonzero(np.concatenate([[True], unit[1:] != unit[:-1]])) if len(unit) else place
    return place - np.repeat(starts, np.diff(np.append(starts, len(unit))))
