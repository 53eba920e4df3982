"""The active codes of a block of rows, as a list: what every accumulator consumes.

Between 1 % and 5 % of codes are active, so everything after the encoder costs as much as there are firings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .rows import Rows

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Firings:
    """Ordered by row, then unit. A code is positive here; what is not listed is zero."""

    rows: Rows
    n_units: int
    unit: NDArray[np.int64]  # [m]
    row: NDArray[np.int64]  # [m], index into the block
    value: NDArray[np.float32]  # [m], all > 0
    # The dense matrix they were taken from [B, n], zero on rows that do not count: for looking around a firing. None
    # in a second pass, which reads saved codes.
    codes: NDArray[np.float32] | None = None
    _parts: dict[int, Firings] = field(default_factory=dict, repr=False)
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returns, made once a block and set of units however many scores ask. `name`: the asker's own."""
        if name not in self._made:
            self._made[name] = make()
        found: T = self._made[name]
        return found

    def of(self, split: int) -> Firings:
        """Those on rows of one split, with the same `rows`; found once a block however many scores ask."""
        if split not in self._parts:
            here = self.rows.split[self.row] == split
            self._parts[split] = Firings(
                rows=self.rows, n_units=self.n_units, unit=self.unit[here], row=self.row[here], value=self.value[here]
            )
        return self._parts[split]


def firings(rows: Rows, codes: NDArray[np.float32]) -> Firings:
    """Takes ownership of `codes`: rows that do not count are set to zero in place."""
    codes[~rows.counted] = 0
    flat = codes.reshape(-1)
    where = np.flatnonzero(flat > 0)
    row, unit = np.divmod(where, codes.shape[1])
    return Firings(rows=rows, n_units=codes.shape[1], codes=codes, unit=unit, row=row, value=flat[where])
