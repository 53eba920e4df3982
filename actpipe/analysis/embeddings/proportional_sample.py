"""Of each unit a sample of its tiles, drawn in proportion to activation, in one pass: priority sampling.

With u uniform in (0, 1], a function of (seed, unit, tile), the priority of a tile is a / u. Kept are the k largest, and
the next one as the threshold τ (Duffield, Lund and Thorup 2007): max(a, τ) is then an unbiased weight, so that sums
over the k estimate sums of a over all tiles. With k tiles or fewer all are there, with their activations. That is
stratification by activation without bins: strong tiles are surely in it, weak ones stand for many.

A tile among the k + 1 of the whole is among those of every part that holds it, so parts merge exactly. State: 16 bytes
an entry, 1 kB a unit at k = 64.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.store.hashing import Words, salt, salted, splitmix64

from .tiles import Peaks

_SALT = 0x70726F70  # "prop"


class Sample(NamedTuple):
    """One entry a tile, ordered by unit, then priority."""

    unit: NDArray[np.int64]
    tile: NDArray[np.int64]
    weight: NDArray[np.float64]


class ProportionalSample:
    def __init__(self, n_units: int, *, keep: int, seed: int) -> None:
        self.n_units, self.keep = n_units, keep
        self.unit_words = salted(np.arange(n_units), salt(_SALT, seed))
        self.unit, self.tile = np.zeros(0, np.int32), np.zeros(0, np.int64)
        self.value = np.zeros(0, np.float32)
        self.threshold = np.zeros(n_units)  # priority of the last kept entry of a full unit
        self._kept = 0  # entries that were there after the last folding

    def update(self, tile: NDArray[np.int64], peaks: Peaks) -> None:
        """Tiles that no other call holds, and what fires in them; values are exact in float32."""
        words = splitmix64(tile)
        high = _priority(self.unit_words[peaks.unit], words[peaks.item], peaks.value) >= self.threshold[peaks.unit]
        unit, item, value = (column[high] for column in peaks)
        self.unit = np.append(self.unit, unit.astype(np.int32))
        self.tile = np.append(self.tile, tile[item])
        self.value = np.append(self.value, value.astype(np.float32))
        if len(self.unit) > 2 * self._kept + 65536:
            self._fold()

    def _priority(self) -> NDArray[np.float64]:
        return _priority(self.unit_words[self.unit], splitmix64(self.tile), self.value)

    def _fold(self) -> None:
        """Keep the keep + 1 first of each unit, in order; the last of them, where there are so many, is τ."""
        priority = self._priority()
        order = np.lexsort((self.tile, -priority, self.unit))
        count = np.bincount(self.unit, minlength=self.n_units)
        starts = np.cumsum(count) - count
        rank = np.arange(len(order)) - starts[self.unit[order]]
        last = order[rank == self.keep]
        self.threshold[self.unit[last]] = priority[last]
        order = order[rank <= self.keep]
        self.unit, self.tile, self.value = self.unit[order], self.tile[order], self.value[order]
        self._kept = len(order)

    def merge(self, other: Self) -> None:
        self.unit = np.append(self.unit, other.unit)
        self.tile = np.append(self.tile, other.tile)
        self.value = np.append(self.value, other.value)
        self._fold()

    def state(self) -> dict[str, NDArray[Any]]:
        self._fold()
        return {"unit": self.unit, "tile": self.tile, "value": self.value}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        self.unit, self.tile, self.value = (np.array(state[name]) for name in ("unit", "tile", "value"))
        self._fold()

    def finish(self) -> Sample:
        self._fold()
        priority = self._priority()
        kept = priority > self.threshold[self.unit]  # without τ itself, which is 0 where all tiles are there
        unit = self.unit[kept].astype(np.int64)
        weight = np.maximum(self.value[kept].astype(np.float64), self.threshold[unit])
        return Sample(unit, self.tile[kept], weight)


def _priority(unit: Words, tile: Words, value: NDArray[np.floating]) -> NDArray[np.float64]:
    uniform = (splitmix64(unit ^ tile).astype(np.float64) + 1) / 2.0**64
    return value.astype(np.float64) / uniform
