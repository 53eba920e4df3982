"""One-to-one pairs with the largest sum: shortest augmenting paths (Jonker and Volgenant 1987; Crouse 2016).

    loss of (i, j) = p_j − v_ij ≥ −u_i, equal for assigned pairs        prices p, from 0 and rising

Each row in turn looks for the free column that it reaches with the least loss, over columns that are taken and the rows
that have them. Losses are whole numbers of 2⁻³⁰: their order is exact, and all columns are looked at in the processor's
vectors. A loss carries the number of its column in its low bits, so that the least of them says where it is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled

MOST = 1 << 13  # columns: their numbers fill the low bits
_LOW = 13
_UNIT = 2.0**30  # values are below 2
_FAR = np.int64(1) << 60  # more than any loss, 2^(31 + 13) a step of a path


def mean_of_best_pairs(values: NDArray[np.floating]) -> float:
    """Of [n, m], all of size below 2: as many pairs as the smaller side has. NaN where one is empty, or a value NaN."""
    if not values.size or not np.isfinite(values).all():
        return math.nan
    if len(values) > values.shape[1]:
        values = values.T
    column = _columns(np.round(values * _UNIT).astype(np.int32))
    return float(values[np.arange(len(values)), column].mean(dtype=np.float64))


@compiled
def _columns(value: NDArray[np.int32]) -> NDArray[np.int64]:
    """[n] of each row; n ≤ m."""
    n, m = value.shape
    column, row = np.full(n, -1, np.int64), np.full(m, -1, np.int64)
    price, loss, before = np.arange(m), np.empty(m, np.int64), np.empty(m, np.int32)
    reached, losses, prices = np.empty((3, m), np.int64)  # in the order in which they are
    for start in range(n):
        loss[:] = _FAR
        i, already, steps = np.int32(start), np.int64(0), 0
        while True:
            here, least = value[i], _FAR
            for k in range(m):
                through = already + price[k] - (np.int64(here[k]) << _LOW)
                before[k] = i if through < loss[k] else before[k]
                loss[k] = min(through, loss[k])
                least = min(least, loss[k])
            j = least & (MOST - 1)
            reached[steps], losses[steps], prices[steps] = j, least, price[j]
            steps += 1
            if row[j] < 0:
                break
            loss[j], price[j] = _FAR, 2 * _FAR  # not again
            i = np.int32(row[j])
            already = least - prices[steps - 1] + (np.int64(value[i, j]) << _LOW)
        for step in range(steps):
            price[reached[step]] = prices[step] + (((least >> _LOW) - (losses[step] >> _LOW)) << _LOW)
        while True:  # back along the path: each row takes the column before which it stands
            i = before[j]
            row[j] = i
            column[i], j = j, column[i]
            if i == start:
                break
    return column
