"""The active codes of a block of rows, as a list: what every accumulator consumes.

Between 1 % and 5 % of codes are active, so everything after the encoder costs as much as there are firings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rows import Rows


@dataclass(frozen=True, kw_only=True)
class Firings:
    """Ordered by row, then unit. `codes` is the dense matrix they were taken from, for looking around a firing."""

    rows: Rows
    codes: NDArray[np.float32]  # [B, n], zero on rows that do not count
    unit: NDArray[np.int64]  # [m]
    row: NDArray[np.int64]  # [m], index into the block
    value: NDArray[np.float32]  # [m], all > 0


def firings(rows: Rows, codes: NDArray[np.float32]) -> Firings:
    """Takes ownership of `codes`: rows that do not count are set to zero in place."""
    codes[~rows.counted] = 0
    flat = codes.reshape(-1)
    where = np.flatnonzero(flat > 0)
    row, unit = np.divmod(where, codes.shape[1])
    return Firings(rows=rows, codes=codes, unit=unit, row=row, value=flat[where])
