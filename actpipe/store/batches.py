"""store → batches of shuffled rows, in the order of order.py, through a pool of slots that threads keep full."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .dtypes import TORCH, words
from .encoding import decode_rows, empty_rows
from .layout import StoreLayout
from .lending import Lender
from .order import Block, Integers, Order, Sorter
from .shards import Chunks

# Read ahead of the consumer, once in flight and once requested from the disk; the order of a row takes some 100 bytes.
BLOCK_BYTES, BLOCK_ROWS = 16 * 2**20, 2**16
PIECE_ROWS = 256
POOL_ROWS, POOL_BYTES = 2**20, 2 * 2**30


class Batch(NamedTuple):
    x: torch.Tensor
    """[batch, width], in the model's units; float32 unless asked otherwise"""
    rows: torch.Tensor
    """int64 [batch]: row numbers; sequence, position = divmod(row, context)"""


def default_pool_rows(row_bytes: int) -> int:
    """A million rows or 2 GiB of them. Never a function of the machine: the order depends on it."""
    return max(min(POOL_ROWS, POOL_BYTES // row_bytes), 1)


class Pool:
    """Slots for rows of one hook in their stored form."""

    def __init__(
        self, chunks: Chunks, layout: StoreLayout, hook: str, order: Order, readers: ThreadPoolExecutor
    ) -> None:
        self._chunks, self._hook, self._readers = chunks, hook, readers
        self._each = each = layout.hooks[hook]
        self.block_rows = max(min(BLOCK_BYTES // each.row_bytes, BLOCK_ROWS), each.chunk_rows)
        # The reader threads write into these; made inside a caller's inference mode, torch would refuse it.
        staging = max(chunks.bytes_per_call // each.chunk_bytes, 1) * each.chunk_rows
        self._staging = [empty_rows(staging, each) for _ in range(chunks.callers)]
        self._piece = empty_rows(PIECE_ROWS, each)
        self._raw, self._staged = _rows_as_items(self._piece), [_rows_as_items(rows) for rows in self._staging]
        waiting = order.pool_rows + 4 * math.isqrt(order.pool_rows) + Sorter.slack(order) + 3 * self.block_rows
        slots = min(order.n_rows, waiting)
        # One more: rows of a run that nobody wants go there.
        self._items = _rows_as_items(empty_rows(slots + 1, each))
        self._free, self._n_free = np.arange(slots), slots

    def reserve(self, rows: int) -> Integers:
        assert rows <= self._n_free, "the pool is too small for its order"
        self._n_free -= rows
        return self._free[self._n_free : self._n_free + rows].copy()

    def release(self, slots: Integers) -> None:
        self._free[self._n_free : self._n_free + len(slots)] = slots
        self._n_free += len(slots)

    def load(self, block: Block, slots: Integers, following: Block | None) -> list[Future[None]]:
        """Begin to read the runs of a block and to put the wanted rows into their slots; the readers share the runs."""
        targets = np.full(len(block.runs) * self._each.chunk_rows, len(self._items) - 1)
        targets[block.places] = slots
        runs, later = block.runs.tolist(), following.runs.tolist() if following is not None else []
        return [self._readers.submit(self._load, i, runs, targets, later) for i in range(len(self._staging))]

    def _load(self, reader: int, runs: list[int], targets: Integers, later: list[int]) -> None:
        staging, staged, run_rows = self._staging[reader], self._staged[reader], self._each.chunk_rows
        step = len(staging) // run_rows
        for begin in range(reader * step, len(runs), len(self._staging) * step):
            now, rows = runs[begin : begin + step], slice(begin * run_rows, (begin + step) * run_rows)
            n_rows = len(now) * run_rows
            self._chunks.read_runs(self._hook, now, staging[:n_rows], later[begin : begin + step])
            self._items[targets[rows]] = staged[:n_rows]

    def take(self, slots: Integers, out: torch.Tensor) -> None:
        """Copy slots into `out` [n, width], decoded; piece by piece, so that the raw rows stay in the cache."""
        if TORCH[self._each.dtype] == out.dtype:
            self._items.take(slots, out=_rows_as_items(out), mode="clip")
            return
        for start in range(0, len(slots), PIECE_ROWS):
            piece = slots[start : start + PIECE_ROWS]
            self._items.take(piece, out=self._raw[: len(piece)], mode="clip")
            decode_rows(self._piece[: len(piece)], self._each, out[start : start + len(piece)])


def _rows_as_items(rows: torch.Tensor) -> NDArray[Any]:
    """Stored rows as n opaque items: numpy gathers and scatters those several times faster, and without the lock."""
    row_bytes = rows.shape[1] * rows.element_size()
    return words(rows).view(f"V{row_bytes}")[:, 0]


def batches(
    chunks: Chunks,
    layout: StoreLayout,
    hook: str,
    order: Order,
    *,
    batch_size: int,
    start: int = 0,
    epochs: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Batch]:
    """Batches from number `start` on; the last, short one is delivered only when `epochs` ends the stream."""
    if order.n_rows == 0:
        return
    epoch, skip = divmod(start * batch_size, order.n_rows)
    lender = Lender((batch_size, layout.hooks[hook].width), dtype)
    x, rows, filled = lender.lend(), torch.empty(batch_size, dtype=torch.int64), 0
    with ThreadPoolExecutor(chunks.callers, thread_name_prefix="actpipe-reader") as readers:
        pool = Pool(chunks, layout, hook, order, readers)
        for number in count(epoch) if epochs is None else range(epoch, epochs):
            for slots, ids in _epoch(pool, order, number, skip):
                for low, high in _cuts(len(slots), batch_size, filled):
                    pool.take(slots[low:high], x[filled : filled + high - low])
                    rows[filled : filled + high - low] = torch.from_numpy(ids[low:high])
                    filled += high - low
                    if filled == batch_size:
                        yield Batch(x, rows)
                        x, rows, filled = lender.lend(), torch.empty_like(rows), 0
                pool.release(slots)
            skip = 0
    if filled:
        yield Batch(x[:filled], rows[:filled])


def _cuts(n: int, batch_size: int, filled: int) -> Iterator[tuple[int, int]]:
    """Where to cut n rows so that each piece ends a batch of which `filled` rows are there, or is the last."""
    low = 0
    while low < n:
        high = min(low + batch_size - filled, n)
        yield low, high
        low, filled = high, 0


def _epoch(pool: Pool, order: Order, epoch: int, skip: int) -> Iterator[tuple[Integers, Integers]]:
    """Slots and row numbers in delivery order; while one part is consumed, the next block is read."""
    blocks = order.blocks(epoch, block_rows=pool.block_rows, start=skip)
    sorter, safe = Sorter(order), 0
    ahead = next(blocks, None)
    while ahead is not None:
        block, slots = ahead, pool.reserve(len(ahead.rows))
        ahead = next(blocks, None)
        loading = pool.load(block, slots, ahead)
        yield sorter.pop(safe)
        for each in loading:
            each.result()
        sorter.push(block.keys, slots, block.rows)
        safe = block.safe
    yield sorter.pop(safe)
