"""The order in which shuffled rows are delivered: a pure function of seed, epoch, selected rows and pool size.

Runs (inner chunks) are permuted; the rows of the permuted runs, in that order, have positions p = 0, 1, …, N − 1. Each
row gets

    key(p) = max(0, p − A) + delay,      delay uniform in [0, D),      A = 4/5 pool_rows,  D = 8/5 pool_rows

and rows are delivered by increasing key, equal keys by position. That is what a pool of `pool_rows` slots does that is
filled first and then loses and gains one row at a time, but it needs no simulation: the number of rows on their way
peaks at A + (D − A)²/2D = pool_rows, no row waits longer than D, and the order does not depend on how a reader buffers.
Where N ≤ A every order of the rows is equally likely. Keys are integers with `fraction` binary digits after the point,
so they are the same on every machine. Uniform delays with mean m mix as well as a random-slot pool of m slots: both
have ∫f² = 1/2m, f being the density of the delay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .hashing import salt, salted

Integers = NDArray[np.int64]
_RUNS, _DELAYS = 1, 2  # families of hashes


class Block(NamedTuple):
    """Rows that are read together."""

    runs: Integers
    """Run numbers, in the order of reading; only runs with rows that are still wanted."""
    rows: Integers
    """Row numbers that are wanted."""
    places: Integers
    """Where each lies in the runs laid end to end."""
    keys: Integers
    safe: int
    """Every row with a smaller key is in this block or an earlier one."""


@dataclass(frozen=True)
class Order:
    """Selected rows, cut in runs of `run_rows`."""

    selected: NDArray[np.bool_]
    """[rows]"""
    run_rows: int
    pool_rows: int
    seed: int

    @cached_property
    def counts(self) -> Integers:
        """Selected rows of each run."""
        n_runs = -(-len(self.selected) // self.run_rows)
        whole = len(self.selected) // self.run_rows * self.run_rows
        counts = np.zeros(n_runs, np.int64)
        counts[: whole // self.run_rows] = self.selected[:whole].reshape(-1, self.run_rows).sum(axis=1)
        if whole < len(self.selected):
            counts[-1] = self.selected[whole:].sum()
        return counts

    @cached_property
    def n_rows(self) -> int:
        return int(self.counts.sum())

    @property
    def lead(self) -> int:
        """A in the formula above."""
        return 4 * self.pool_rows // 5

    @property
    def longest_delay(self) -> int:
        """D in the formula above."""
        return max(8 * self.pool_rows // 5, 1)

    @property
    def fraction(self) -> int:
        """Binary digits of a key after the point; D · 2^fraction fits 32 bits."""
        return max(32 - self.longest_delay.bit_length(), 0)

    def runs_of(self, epoch: int) -> tuple[Integers, Integers]:
        """Runs with selected rows in the order of the epoch, and the position of the first row of each."""
        runs = np.flatnonzero(self.counts)
        runs = runs[np.argsort(salted(runs, salt(self.seed, epoch, _RUNS)), kind="stable")]
        counts = self.counts[runs]
        return runs, np.cumsum(counts) - counts

    def blocks(self, epoch: int, *, block_rows: int, start: int = 0) -> Iterator[Block]:
        """Blocks of about `block_rows` rows that hold the rows from delivery `start` of the epoch on, and no others."""
        runs, positions = self.runs_of(epoch)
        if start == 0:
            return self._blocks(epoch, runs, positions, block_rows)
        # Rows before position start − D are delivered before `start`, whatever their delays: their keys are below
        # start − A, and at most `start` rows have keys that small.
        first = int(np.searchsorted(positions, max(start - self.longest_delay, 0), side="right")) - 1
        # Rows after position start + D have larger keys than the row at `start`.
        stop = int(np.searchsorted(positions, start + self.longest_delay, side="right"))
        earlier = start - int(positions[first])
        parts = self._blocks(epoch, runs[first:stop], positions[first:stop], block_rows)
        keys = np.concatenate([block.keys for block in parts])
        least = int(np.partition(keys, earlier)[earlier])
        ties = earlier - int(np.count_nonzero(keys < least))
        return self._blocks(epoch, runs[first:], positions[first:], block_rows, least, ties)

    def _blocks(
        self, epoch: int, runs: Integers, positions: Integers, block_rows: int, least: int = 0, ties: int = 0
    ) -> Iterator[Block]:
        """Without the rows whose key is below `least`, and without the first `ties` rows whose key equals it."""
        per_block = max(block_rows // self.run_rows, 1)
        word = salt(self.seed, epoch, _DELAYS)
        for begin in range(0, len(runs), per_block):
            part, end = runs[begin : begin + per_block], begin + per_block
            rows, lengths = self._rows(part)
            keys = self._keys(rows, int(positions[begin]), word)
            wanted = keys >= least
            dropped = np.flatnonzero(keys == least)[:ties]
            wanted[dropped] = False
            ties -= len(dropped)
            # Past the last run no key is to come.
            safe = max(int(positions[end]) - self.lead, 0) << self.fraction if end < len(runs) else 2**63 - 1
            yield self._block(part, lengths, rows, keys, wanted, safe)

    def _block(
        self, runs: Integers, lengths: Integers, rows: Integers, keys: Integers, wanted: Any, safe: int
    ) -> Block:
        rows, keys, owner = rows[wanted], keys[wanted], np.repeat(np.arange(len(runs)), lengths)[wanted]
        used, owner = np.unique(owner, return_inverse=True)
        places = owner * self.run_rows + rows % self.run_rows
        return Block(runs[used], rows, places, keys, safe)

    def _rows(self, runs: Integers) -> tuple[Integers, Integers]:
        """Selected rows of the runs one after the other, and how many each run has."""
        grid = runs[:, None] * self.run_rows + np.arange(self.run_rows)
        inside = grid < len(self.selected)
        picked = np.zeros(grid.shape, np.bool_)
        picked[inside] = self.selected[grid[inside]]
        return grid[picked], picked.sum(axis=1)

    def _keys(self, rows: Integers, position: int, word: np.uint64) -> Integers:
        high = (salted(rows, word) >> np.uint64(32)).astype(np.uint64)
        delays = (high * np.uint64(self.longest_delay << self.fraction)) >> np.uint64(32)
        arrivals = np.maximum(np.arange(position, position + len(rows)) - self.lead, 0)
        return (arrivals << self.fraction) + delays.astype(np.int64)


class Sorter:
    """Rows on their way, in buckets of keys, so that taking the next ones does not touch the rest."""

    def __init__(self, order: Order) -> None:
        span = max(order.longest_delay // 32, 1)
        self._shift = order.fraction + max(span.bit_length() - 1, 0)
        self._buckets: dict[int, list[tuple[Integers, Integers, Integers]]] = {}

    @staticmethod
    def slack(order: Order) -> int:
        """Rows that wait in a bucket although they might go already."""
        return max(order.longest_delay // 32, 1)

    def push(self, keys: Integers, slots: Integers, rows: Integers) -> None:
        if not len(keys):
            return
        buckets = keys >> self._shift
        # Sixteen bits are enough (a block touches some 64 buckets) and are sorted by radix.
        by_bucket = np.argsort((buckets - buckets.min()).astype(np.uint16), kind="stable")
        keys, slots, rows, buckets = keys[by_bucket], slots[by_bucket], rows[by_bucket], buckets[by_bucket]
        edges = [0, *(np.flatnonzero(np.diff(buckets)) + 1).tolist(), len(keys)]
        for low, high in pairwise(edges):
            piece = keys[low:high], slots[low:high], rows[low:high]
            self._buckets.setdefault(int(buckets[low]), []).append(piece)

    def pop(self, safe: int) -> tuple[Integers, Integers]:
        """Slots and rows, in order, of every bucket whose keys are all below `safe`."""
        ready = sorted(bucket for bucket in self._buckets if bucket < safe >> self._shift)
        found: list[tuple[Integers, Integers]] = []
        for bucket in ready:
            keys, slots, rows = (np.concatenate(column) for column in zip(*self._buckets.pop(bucket), strict=True))
            by_key = np.argsort(keys, kind="stable")
            found.append((slots[by_key], rows[by_key]))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate([slots for slots, _ in found]), np.concatenate([rows for _, rows in found])
