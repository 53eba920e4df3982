"""store → batches of shuffled rows, in the order of order.py, through a pool of slots that a thread keeps full."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .dtypes import words
from .encoding import decode_rows, empty_rows
from .layout import StoreLayout
from .order import Block, Integers, Order, Sorter
from .shards import Chunks

BLOCK_BYTES = 16 * 2**20  # read ahead of the consumer, once in flight and once requested from the disk
PIECE_ROWS = 256
POOL_ROWS, POOL_BYTES = 2**20, 2 * 2**30


class Batch(NamedTuple):
    x: torch.Tensor
    """float32 [batch, width], in the model's units"""
    rows: torch.Tensor
    """int64 [batch]: row numbers; sequence, position = divmod(row, context)"""


def default_pool_rows(row_bytes: int) -> int:
    """A million rows or 2 GiB of them. Never a function of the machine: the order depends on it."""
    return max(min(POOL_ROWS, POOL_BYTES // row_bytes), 1)


class Pool:
    """Slots for rows of one hook in their stored form."""

    def __init__(self, chunks: Chunks, layout: StoreLayout, hook: str, order: Order) -> None:
        self._chunks, self._hook = chunks, hook
        self._each = each = layout.hooks[hook]
        self.block_rows = max(BLOCK_BYTES // each.row_bytes, each.chunk_rows)
        # The reader thread writes into these; made inside a caller's inference mode, torch would refuse it.
        waiting = order.pool_rows + 4 * math.isqrt(order.pool_rows) + Sorter.slack(order) + 3 * self.block_rows
        self._items = _rows_as_items(empty_rows(min(order.n_rows, waiting), each))
        self._piece = empty_rows(PIECE_ROWS, each)
        runs_per_block = max(self.block_rows // each.chunk_rows, 1)
        self._staging = empty_rows(runs_per_block * each.chunk_rows, each)
        self._free = np.arange(len(self._items))

    def reserve(self, rows: int) -> Integers:
        assert rows <= len(self._free), "the pool is too small for its order"
        taken, self._free = self._free[:rows], self._free[rows:]
        return taken

    def release(self, slots: Integers) -> None:
        self._free = np.concatenate([slots, self._free])

    def load(self, block: Block, slots: Integers, following: Block | None) -> None:
        """Read the runs of a block and put the wanted rows into their slots."""
        later = following.runs.tolist() if following is not None else []
        staging = self._staging[: len(block.runs) * self._each.chunk_rows]
        self._chunks.read_runs(self._hook, block.runs.tolist(), staging, later)
        staged = _rows_as_items(staging)
        if len(block.rows) < len(staged):
            staged = staged[block.places]
        self._items[slots] = staged

    def take(self, slots: Integers, out: torch.Tensor) -> None:
        """Copy slots into `out` [n, width], decoded; piece by piece, so that the raw rows stay in the cache."""
        for start in range(0, len(slots), PIECE_ROWS):
            piece = slots[start : start + PIECE_ROWS]
            raw = self._piece[: len(piece)]
            self._items.take(piece, out=_rows_as_items(raw), mode="clip")
            decode_rows(raw, self._each, out[start : start + len(piece)])


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
) -> Iterator[Batch]:
    """Batches from number `start` on; the last, short one is delivered only when `epochs` ends the stream."""
    epoch, skip = divmod(start * batch_size, order.n_rows)
    width = layout.hooks[hook].width
    x, rows, filled = torch.empty(batch_size, width), torch.empty(batch_size, dtype=torch.int64), 0
    pool = Pool(chunks, layout, hook, order)
    with ThreadPoolExecutor(1, thread_name_prefix="actpipe-reader") as reader:
        for number in count(epoch) if epochs is None else range(epoch, epochs):
            for slots, ids in _epoch(pool, order, reader, number, skip):
                for low, high in _cuts(len(slots), batch_size, filled):
                    pool.take(slots[low:high], x[filled : filled + high - low])
                    rows[filled : filled + high - low] = torch.from_numpy(ids[low:high])
                    filled += high - low
                    if filled == batch_size:
                        yield Batch(x, rows)
                        x, rows, filled = torch.empty_like(x), torch.empty_like(rows), 0
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


def _epoch(
    pool: Pool, order: Order, reader: ThreadPoolExecutor, epoch: int, skip: int
) -> Iterator[tuple[Integers, Integers]]:
    """Slots and row numbers in delivery order; while one part is consumed, the next block is read."""
    blocks = order.blocks(epoch, block_rows=pool.block_rows, start=skip)
    sorter, safe = Sorter(order), 0
    ahead = next(blocks, None)
    while ahead is not None:
        block, slots = ahead, pool.reserve(len(ahead.rows))
        ahead = next(blocks, None)
        loading = reader.submit(pool.load, block, slots, ahead)
        yield sorter.pop(safe)
        loading.result()
        sorter.push(block.keys, slots, block.rows)
        safe = block.safe
    yield sorter.pop(safe)
