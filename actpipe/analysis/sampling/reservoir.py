"""A random sample of each unit's windows from every size of activation, in one pass and bounded memory.

Every window has a random word, its priority. Kept are, of each unit, the PER_UNIT windows of least priority, and of
each bin of its activations the PER_BIN of least priority: whatever strata the bins are put together to at the end, the
kept windows of least priority are a sample without replacement of the stratum. How many windows a bin has is counted.

A window that is among the least of the whole is among the least of every part that holds it, so parts merge exactly.
State: at most PER_UNIT + PER_BIN · bins entries of 32 bytes a unit; activations span some fifteen bins (4 kB), and rare
units have fewer windows than that.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.token_sums import TokenSums
from actpipe.store.hashing import Words

from .fired import Fired, borders, in_order
from .frame import Ints, State

PER_UNIT, PER_BIN = 64, 5
BINS = 1 << 10  # for every positive float32
_BUFFER = 1 << 18  # entries before they are folded: 8 MiB
_ALWAYS = np.uint64(2**64 - 1)


def bin_of(value: NDArray[np.float32]) -> Ints:
    """Four bins an octave, at 1, 1¼, 1½ and 1¾ times a power of two: the upper bits of the number itself."""
    return (value.view(np.int32) >> 21).astype(np.int64)


class Entries(NamedTuple):
    """One a window."""

    key: Ints  # unit · BINS + bin
    priority: Words
    document: NDArray[np.int32]
    windows: NDArray[np.int32]  # that it stands for
    row: Ints  # of the peak

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Entries:
        return Entries._make(column[index] for column in self)


def _joined(parts: list[Entries]) -> Entries:
    return Entries._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


_NO_ENTRIES = Entries(
    np.zeros(0, np.int64),
    np.zeros(0, np.uint64),
    np.zeros(0, np.int32),
    np.zeros(0, np.int32),
    np.zeros(0, np.int64),
)


class Reservoir:
    def __init__(self, n_units: int) -> None:
        self.n_units = n_units
        self.counts = TokenSums(BINS)  # windows by unit and bin
        self._kept, self._new = _NO_ENTRIES, [_NO_ENTRIES]
        self._bins = np.zeros(0, np.int64)  # keys of the bins that hold more than is kept of them,
        self._bounds = np.zeros(0, np.uint64)  # and the largest kept priority of each
        self._bound = np.full(n_units, _ALWAYS)  # the same of each unit

    def add(self, found: Fired, priority: Words) -> None:
        """Windows of documents that were not added before."""
        bins = bin_of(found.value)
        key = found.unit * BINS + bins
        distinct, times = np.unique(key, return_counts=True)
        self.counts.add(distinct, times.astype(np.float64))
        sizes = found.document.astype(np.int32), found.windows.astype(np.int32)
        self._push(Entries(key, priority, *sizes, found.row))

    def merge(self, other: Self) -> None:
        self.counts.merge(other.counts)
        for entries in (other._kept, *other._new):
            self._push(entries)

    def state(self) -> State:
        counts = {f"counts.{key}": values for key, values in self.counts.state().items()}
        return {**counts, **self.entries()._asdict()}

    def restore(self, state: State) -> None:
        self.counts.restore({key.removeprefix("counts."): v for key, v in state.items() if key.startswith("counts.")})
        self._push(Entries(*(state[name] for name in Entries._fields)))

    def entries(self) -> Entries:
        """What is kept, in order of unit, then priority."""
        self._fold()
        return self._kept

    def _push(self, new: Entries) -> None:
        self._new.append(new.take(self._may_stay(new)))
        if sum(len(each.key) for each in self._new) > _BUFFER:
            self._fold()

    def _may_stay(self, new: Entries) -> NDArray[np.bool_]:
        place = np.minimum(np.searchsorted(self._bins, new.key), max(len(self._bins) - 1, 0))
        stays: NDArray[np.bool_] = new.priority <= self._bound[new.key // BINS]
        if len(self._bins):
            full = self._bins[place] == new.key
            stays |= ~full | (new.priority <= self._bounds[place])
        else:
            stays[:] = True
        return stays

    def _fold(self) -> None:
        if not any(len(each.key) for each in self._new):
            return
        every = _joined([self._kept, *self._new])
        self._new = [_NO_ENTRIES]
        by_bin = in_order(every.key, every.priority)
        key = every.key[by_bin]
        in_bin = ranks(key)
        last = by_bin[in_bin == PER_BIN - 1]
        self._bins, self._bounds = every.key[last], every.priority[last]
        stays = np.zeros(len(key), dtype=bool)
        stays[by_bin] = in_bin < PER_BIN
        by_one = in_order(every.key // BINS, every.priority)
        unit = every.key[by_one] // BINS
        in_unit = ranks(unit)
        last = by_one[in_unit == PER_UNIT - 1]
        self._bound[every.key[last] // BINS] = every.priority[last]
        self._kept = every.take(by_one[stays[by_one] | (in_unit < PER_UNIT)])


def ranks(key: Ints) -> Ints:
    """0, 1, 2, … within each run of equal keys."""
    starts = borders(key)
    return np.arange(len(key)) - np.repeat(starts, np.diff(np.append(starts, len(key))))
