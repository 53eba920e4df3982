"""The files of one slab: written together, in the order that makes a commit true, and told from what a crash left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .checksums import crc32c, write_checked
from .commit import withdraw_commit, write_commit
from .health_record import health_key, record_width
from .layout import CHECKSUM_BYTES, StoreLayout
from .objects import Objects
from .shard_file import open_shard
from .shard_index import BadShard
from .shards import write_shards
from .slab_summary import slab_summary


def write_slab_files(
    objects: Objects,
    layout: StoreLayout,
    slab: int,
    rows: Mapping[str, torch.Tensor],
    *,
    mask: NDArray[np.bool_],
    doc: NDArray[Any],
    worker: int,
) -> None:
    """Store and commit rows {hook: [n, width]}; `mask` and `doc` are [n]."""
    _check_shapes(layout, slab, rows)
    if objects.size(layout.commit_key(slab)) is not None:  # while a slab is written again it is not there
        withdraw_commit(objects, layout, slab)
    with ThreadPoolExecutor(2) as pool:  # the processor sums while the disk writes
        passes = {hook: pool.submit(slab_summary, layout, hook, slab, rows[hook], mask, doc) for hook in layout.hooks}
        shards = [pool.submit(write_shards, objects, layout, hook, slab, rows[hook]) for hook in layout.hooks]
        try:
            summaries = {hook: each.result() for hook, each in passes.items()}
        except Misuse:  # rows that are not finite
            _forget(objects, layout, slab, shards)
            raise
        checksums = [each.result() for each in shards]
    for hook, summary in summaries.items():
        write_checked(objects, layout.statistics_key(hook, slab), summary.moments)
        if layout.has_health:
            write_checked(objects, health_key(hook, slab), summary.health.pack())
    write_commit(objects, layout, slab, worker=worker, content=crc32c(np.concatenate(checksums)))


def _forget(objects: Objects, layout: StoreLayout, slab: int, shards: list[Future[Any]]) -> None:
    """Remove what was written of a slab that is refused."""
    for each in shards:
        each.cancel()
    wait(shards)
    for hook in layout.hooks:
        for array in layout.arrays(hook):
            objects.delete(array.shard_key(slab))


def has_its_files(objects: Objects, layout: StoreLayout, slab: int, sizes: Mapping[str, int]) -> bool:
    """Whether every file is there and as long as it must be; `sizes` are those of the whole store."""
    if not all(key in sizes and size in (None, sizes[key]) for key, size in _files(layout, slab)):
        return False
    try:
        for hook in layout.hooks:
            for array in layout.arrays(hook):
                if layout.shard_bytes(array, hook, slab) is None:
                    open_shard(objects, layout, array, hook, slab)
    except BadShard:
        return False
    return True


def _files(layout: StoreLayout, slab: int) -> Iterator[tuple[str, int | None]]:
    """Key and size of each; None for a size that only the index at its end knows."""
    for hook, each in layout.hooks.items():
        for array in layout.arrays(hook):
            yield array.shard_key(slab), layout.shard_bytes(array, hook, slab)
        yield layout.statistics_key(hook, slab), 16 * each.width + CHECKSUM_BYTES
        if layout.has_health:
            yield health_key(hook, slab), 16 * record_width(layout.context) + CHECKSUM_BYTES


def _check_shapes(layout: StoreLayout, slab: int, rows: Mapping[str, torch.Tensor]) -> None:
    if set(rows) != set(layout.hooks):
        raise Misuse(f"Slab {slab} needs the hooks {sorted(layout.hooks)} and was given {sorted(rows)}.")
    for hook, each in layout.hooks.items():
        expected = (layout.rows_of_slab(slab), each.width)
        if tuple(rows[hook].shape) != expected:
            raise Misuse(f"Slab {slab} of hook {hook!r} has shape {expected}, not {tuple(rows[hook].shape)}.")
