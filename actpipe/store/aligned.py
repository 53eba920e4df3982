"""Batches of several hooks that hold the same rows in the same order, for dictionaries that read more than one hook.

The order of a hook's rows depends on the size of its inner chunks, which depends on its width. Here every hook is read
in runs of the largest chunk among them (chunk sizes are a power of two apart), so one order serves all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Damaged, Misuse

from . import batches as _batches
from .layout import StoreLayout
from .order import Order, Selection
from .shards import Chunks
from .store import Store


class Aligned(NamedTuple):
    x: tuple[torch.Tensor, ...]
    """One [batch, width] a hook, float32, in the model's units"""
    rows: torch.Tensor
    """int64 [batch]: row numbers"""


def aligned_batches(
    store: Store,
    hooks: Sequence[str],
    *,
    batch_size: int,
    seed: int,
    select: NDArray[np.bool_] | None = None,
    start: int = 0,
    epochs: int | None = None,
) -> Iterator[Aligned]:
    """As `Store.batches`, for several hooks at once; what a pool holds of all of them together is bounded."""
    if len(set(hooks)) < len(hooks):
        raise Misuse(f"The same hook is named twice among {', '.join(hooks)}.")
    for hook in hooks:
        store._require(hook)
    run_rows = max(store.layout.hooks[hook].chunk_rows for hook in hooks)
    order = Order(
        selected=Selection.of(store._selected(select), run_rows),
        pool_rows=_batches.default_pool_rows(sum(store.layout.hooks[hook].row_bytes for hook in hooks)),
        seed=seed,
    )
    if order.n_rows == 0:
        raise Misuse(f"No row of {store.place} is selected and committed.")
    layout = _in_runs(store.layout, run_rows)
    streams = [
        _batches.batches(
            Runs(store._chunks(), store.layout, run_rows), layout, hook, order,
            batch_size=batch_size, start=start, epochs=epochs,
        )
        for hook in hooks
    ]  # fmt: skip
    for parts in zip(*streams, strict=True):
        rows = parts[0].rows
        if not all(torch.equal(rows, part.rows) for part in parts):  # rows that do not belong together teach nothing
            raise Damaged(f"The hooks {', '.join(hooks)} of {store.place} deliver different rows.")
        yield Aligned(tuple(part.x for part in parts), rows)


class Runs:
    """Chunks of a hook, asked for in runs of several (the contract `actpipe.store.shards.Chunks`)."""

    def __init__(self, chunks: Chunks, layout: StoreLayout, run_rows: int) -> None:
        self._chunks, self._layout, self._run_rows = chunks, layout, run_rows
        self.callers, self.bytes_per_call = chunks.callers, chunks.bytes_per_call

    def read_runs(self, hook: str, runs: Sequence[int], out: torch.Tensor, following: Sequence[int] = ()) -> None:
        self._chunks.read_runs(hook, self._numbers(hook, runs), out, self._numbers(hook, following))

    def _numbers(self, hook: str, runs: Sequence[int]) -> list[int]:
        """Of the chunks in these runs. The last run may end after the store: there its last chunk is read again."""
        chunk_rows = self._layout.hooks[hook].chunk_rows
        each, last = self._run_rows // chunk_rows, -(-self._layout.rows // chunk_rows) - 1
        return [min(run * each + i, last) for run in runs for i in range(each)]


def _in_runs(layout: StoreLayout, run_rows: int) -> StoreLayout:
    return replace(layout, hooks={hook: replace(each, chunk_rows=run_rows) for hook, each in layout.hooks.items()})
