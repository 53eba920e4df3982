"""Activations → store, in this process: while the writer puts one slab on the disk, the model computes the next."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from actpipe.harvest.activations import Activations, Advance
from actpipe.store import Store
from actpipe.store.dtypes import value_dtype


def fill(store: Store, activations: Activations, slabs: Sequence[int], advance: Advance) -> None:
    """Compute, write and commit the slabs one after the other. Two slabs are in memory."""
    sets = [buffers(store) for _ in slabs[:2]]
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="actpipe-writer") as writer:
        for number, slab in enumerate(slabs):
            out = slab_rows(store, slab, activations, sets[number % len(sets)], advance)
            if writing is not None:
                writing.result()
            writing = writer.submit(store.write_slab, slab, out)
        if writing is not None:
            writing.result()


def slab_rows(
    store: Store, slab: int, activations: Activations, memory: dict[str, Tensor], advance: Advance
) -> dict[str, Tensor]:
    """All rows of one slab, {hook: [rows, width]}, in the given memory."""
    start, stop = store.slab_range(slab)
    out = {hook: each[: (stop - start) * store.context] for hook, each in memory.items()}
    # Batches are cut anew in each slab, so its bytes do not depend on who computes it or after what.
    activations.fill(store.text("tokens", start, stop), store.text("doc", start, stop), out, advance)
    return out


def buffers(store: Store) -> dict[str, Tensor]:
    """Memory for one slab, in the type on disk; int8 is made when the slab is written."""
    rows = min(store.layout.slab_rows, store.rows)
    return {hook: torch.empty(rows, width, dtype=value_dtype(store.dtype)) for hook, width in store.hooks.items()}
