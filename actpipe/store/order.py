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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .hashing import salt, salted

Integers = NDArray[np.int64]
_RUNS, _DELAYS, _PARTS = 1, 2, 3  # families of hashes


@dataclass(frozen=True)
class Selection:
    """Wanted rows, cut in runs; a bit a row, because stores have thousands of millions."""

    bits: NDArray[np.uint8]
    """[runs, ⌈run_rows / 8⌉]"""
    counts: Integers
    """Wanted rows of each run."""
    run_rows: int

    @classmethod
    def of(cls, pieces: Iterable[NDArray[np.bool_]], run_rows: int) -> Selection:
        """From booleans of consecutive rows; each piece but the last holds whole runs."""
        bits, counts = [np.zeros((0, -(-run_rows // 8)), np.uint8)], [np.zeros(0, np.int64)]
        for piece in pieces:
            missing = -len(piece) % run_rows
            runs = (np.pad(piece, (0, missing)) if missing else piece).reshape(-1, run_rows)
            bits.append(np.packbits(runs, axis=1))
            counts.append(np.count_nonzero(runs, axis=1))
        return cls(np.concatenate(bits), np.concatenate(counts), run_rows)

    def of_runs(self, runs: Integers) -> NDArray[np.bool_]:
        """[len(runs), run_rows]"""
        return np.unpackbits(self.bits[runs], axis=1, count=self.run_rows).view(np.bool_)

    def only(self, runs: Integers) -> Selection:
        """The wanted rows of these runs alone."""
        bits, counts = np.zeros_like(self.bits), np.zeros_like(self.counts)
        bits[runs], counts[runs] = self.bits[runs], self.counts[runs]
        return Selection(bits, counts, self.run_rows)

    @cached_property
    def n_rows(self) -> int:
        return int(self.counts.sum())


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
    selected: Selection
    pool_rows: int
    seed: int

    @property
    def n_rows(self) -> int:
        return self.selected.n_rows

    def part(self, index: int, of: int) -> Order:
        """The order of one of several readers: its share of the runs, through its share of the pool."""
        if not 0 <= index < of:
            raise Misuse(f"Part {index} of {of} does not exist; the parts are 0 to {of - 1}.")
        if of == 1:
            return self
        runs = np.flatnonzero(self.selected.counts)
        mine = runs[np.argsort(salted(runs, salt(self.seed, of, _PARTS)), kind="stable")[index::of]]
        return Order(selected=self.selected.only(mine), pool_rows=max(self.pool_rows // of, 1), seed=self.seed)

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
        runs = np.flatnonzero(self.selected.counts)
        runs = runs[np.argsort(salted(runs, salt(self.seed, epoch, _RUNS)), kind="stable")]
        counts = self.selected.counts[runs]
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
        per_block = max(block_rows // self.selected.run_rows, 1)
        word = salt(self.seed, epoch, _DELAYS)
        for begin in range(0, len(runs), per_block):
            part, end = runs[begin : begin + per_block], begin + per_block
            places = np.flatnonzero(self.selected.of_runs(part))
            rows = (part * self.selected.run_rows)[places // self.selected.run_rows] + places % self.selected.run_rows
            keys = self._keys(rows, int(positions[begin]), word)
            # Past the last run no key is to come.
            safe = max(int(positions[end]) - self.lead, 0) << self.fraction if end < len(runs) else 2**63 - 1
            block = Block(part, rows, places, keys, safe)
            equal = np.flatnonzero(keys == least)[:ties]
            ties -= len(equal)
            dropped = np.concatenate([np.flatnonzero(keys < least), equal])
            yield self._without(block, dropped) if len(dropped) else block

    def _without(self, block: Block, dropped: Integers) -> Block:
        """Runs of which nothing is left are not read."""
        rows, places, keys = (np.delete(column, dropped) for column in (block.rows, block.places, block.keys))
        used, owner = np.unique(places // self.selected.run_rows, return_inverse=True)
        places = owner * self.selected.run_rows + places % self.selected.run_rows
        return Block(block.runs[used], rows, places, keys, block.safe)

    def _keys(self, rows: Integers, position: int, word: np.uint64) -> Integers:
        delays = salted(rows, word)
        delays >>= np.uint64(32)
        delays *= np.uint64(self.longest_delay << self.fraction)
        delays >>= np.uint64(32)
        arrivals = np.maximum(np.arange(position, position + len(rows)) - self.lead, 0)
        return (arrivals << self.fraction) + delays.astype(np.int64)


def deliveries(order: Order, *, epoch: int, block_rows: int = 2**14) -> Iterator[Integers]:
    """All rows of an epoch in their order, in pieces, without reading anything."""
    sorter = Sorter(order)
    for block in order.blocks(epoch, block_rows=block_rows):
        sorter.push(block.keys, block.rows, block.rows)
        yield sorter.pop(block.safe)[1]


class Sorter:
    """Rows on their way, in buckets of keys, so that taking the next ones does not touch the rest."""

    def __init__(self, order: Order) -> None:
        span = max(order.longest_delay // 32, 1)
        self._shift = order.fraction + max(span.bit_length() - 1, 0)
        self._buckets: dict[int, list[Integers]] = {}  # of [3, n]: keys, slots, rows

    @staticmethod
    def slack(order: Order) -> int:
        """Rows that wait in a bucket although they might go already."""
        return max(order.longest_delay // 32, 1)

    def push(self, keys: Integers, slots: Integers, rows: Integers) -> None:
        if not len(keys):
            return
        buckets = keys >> self._shift
        first = int(buckets.min())
        # Sixteen bits are enough (a block touches some 64 buckets) and are sorted by radix.
        near = (buckets - first).astype(np.uint16)
        columns = np.stack([keys, slots, rows]).take(np.argsort(near, kind="stable"), axis=1)
        edges = [0, *np.cumsum(np.bincount(near)).tolist()]
        for bucket, (low, high) in enumerate(pairwise(edges), first):
            if low < high:
                self._buckets.setdefault(bucket, []).append(columns[:, low:high])

    def pop(self, safe: int) -> tuple[Integers, Integers]:
        """Slots and rows, in order, of every bucket whose keys are all below `safe`."""
        ready = sorted(bucket for bucket in self._buckets if bucket < safe >> self._shift)
        found = [self._sorted(bucket) for bucket in ready]
        slots, rows = np.concatenate(found, axis=1) if found else np.zeros((2, 0), np.int64)
        return slots, rows

    def _sorted(self, bucket: int) -> Integers:
        """[2, n]: slots and rows by key, equal keys as they came.

        Key and place share a word: sorting plain integers is ten times faster than a stable sort of places. Both fit,
        for a bucket's keys differ in less than 32 bits.
        """
        columns = np.concatenate(self._buckets.pop(bucket), axis=1)
        bits = columns.shape[1].bit_length()
        packed = (columns[0] - (bucket << self._shift)) << bits
        packed |= np.arange(columns.shape[1])
        packed.sort()
        packed &= (1 << bits) - 1
        by_key: Integers = columns[1:].take(packed, axis=1)
        return by_key
