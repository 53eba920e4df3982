"""Of the sample that all units share, the windows in which a unit is silent: with its deciles they are the frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .frame import Ints, Uniform

_CELLS = 1 << 24  # of units times shared windows, at a time


class Silent(NamedTuple):
    """One entry a window, ordered by unit, then by the order of the draw."""

    unit: Ints
    window: Ints  # number in `Uniform`
    population: Ints  # tiles of SCORE in which the unit is silent
    sample: Ints

    @property
    def weight(self) -> NDArray[np.float64]:
        return self.population / self.sample


def silent(units: Ints, firing_tiles: Ints, shared: Uniform, cells: Ints, keep: int) -> Silent:
    """For each of `units` the first `keep` shared windows in which it does not fire.

    `firing_tiles` of every unit; `cells`: unit · windows + window of every window that a unit fires in. A unit's share
    of the frame is known exactly, so the windows need not estimate it. A short tile may be silent while the text it is
    shown with is not: the silent windows stand for it too.
    """
    n = len(shared.tile)
    fires = np.sort(cells)
    found: list[tuple[Ints, Ints]] = []
    step = max(1, _CELLS // max(n, 1))
    for chunk in np.split(units, range(step, len(units), step)):
        quiet = np.ones((len(chunk), n), dtype=bool)
        inside = fires[slice(*np.searchsorted(fires, [chunk[0] * n, (chunk[-1] + 1) * n]))] if len(chunk) else fires[:0]
        row = np.searchsorted(chunk, inside // n)
        known = chunk[np.minimum(row, max(len(chunk) - 1, 0))] == inside // n if len(chunk) else row.astype(bool)
        quiet[row[known], inside[known] % n] = False
        row, column = np.nonzero(quiet & (np.cumsum(quiet, axis=1, dtype=np.int32) <= keep))
        found.append((chunk[row], column))
    unit, window = (np.concatenate(column) for column in zip(*found, strict=True))
    sizes = np.bincount(unit, minlength=len(firing_tiles))
    return Silent(unit, window, shared.n_tiles - firing_tiles[unit], sizes[unit])
