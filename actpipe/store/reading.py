"""Consecutive rows from the shards: whole chunks straight into place, cut ones through a scratch chunk."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from .encoding import empty_rows
from .layout import StoreLayout
from .shards import READ_BYTES, Shards

# One helper is enough: two threads read and check faster than one disk delivers.
_helper = ThreadPoolExecutor(1, thread_name_prefix="actpipe-reader")


def _renew_helper() -> None:
    """A forked child has the executor but not its thread, and would wait for it forever."""
    global _helper
    _helper = ThreadPoolExecutor(1, thread_name_prefix="actpipe-reader")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_helper)


def read_rows(shards: Shards, layout: StoreLayout, hook: str, start: int, out: torch.Tensor) -> None:
    """Fill `out`, n rows in their stored form, with those from `start` on."""
    each = layout.hooks[hook]
    for row, rows in _pieces(layout, hook, start, start + len(out)):
        part, chunk, inside = out[row - start : row - start + rows], row // each.chunk_rows, row % each.chunk_rows
        if inside or rows % each.chunk_rows:
            scratch = empty_rows(each.chunk_rows, each)
            shards.read_chunks(hook, chunk, scratch)
            part.copy_(scratch[inside : inside + rows])
        elif rows * each.row_bytes < READ_BYTES:
            shards.read_chunks(hook, chunk, part)
        else:
            half = math.ceil(rows / each.chunk_rows / 2)
            second = _helper.submit(shards.read_chunks, hook, chunk + half, part[half * each.chunk_rows :])
            try:
                shards.read_chunks(hook, chunk, part[: half * each.chunk_rows])
            finally:
                second.result()


def _pieces(layout: StoreLayout, hook: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """(first row, rows) of pieces that are either whole chunks of one slab or a part of one chunk."""
    chunk_rows = layout.hooks[hook].chunk_rows
    while start < stop:
        slab_end = (start // layout.slab_rows + 1) * layout.slab_rows
        whole = (min(stop, slab_end) - start) // chunk_rows * chunk_rows if start % chunk_rows == 0 else 0
        rows = whole or min(chunk_rows - start % chunk_rows, stop - start)
        yield start, rows
        start += rows
