"""Shard files, written and read directly: a Zarr v3 shard is its chunks, their checksums and an index.

Doing it here is several times faster than through zarr-python, which copies each chunk two or three times
(docs/reference/store-format.md has the bytes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Damaged

from .checksums import crc32c
from .codecs import get_codec
from .encoding import columns, encode_rows, join_columns
from .layout import CHECKSUM_BYTES, ShardedArray, StoreLayout
from .objects import Objects
from .shard_file import ShardFile, open_shard
from .shard_index import BadShard, index_bytes

# Bytes of one reading call: small enough that what was read is still in the cache when its checksum is taken.
READ_BYTES = 2 * 2**20
CHUNKS_PER_CALL = 256  # two buffers each; one call takes 1024
OPEN_READERS = 64


def write_shards(objects: Objects, layout: StoreLayout, hook: str, slab: int, rows: torch.Tensor) -> NDArray[Any]:
    """Write the shards of one hook durably; returns the checksums of their chunks (uint32), shard after shard."""
    values, *others = layout.arrays(hook)
    kept: list[list[NDArray[Any]]] = []  # of the other arrays: small

    def values_chunks() -> Iterator[NDArray[Any]]:
        for part in _chunks(layout, hook, rows):
            first, *rest = columns(encode_rows(part, layout.hooks[hook]), layout.hooks[hook])
            kept.append(rest)
            yield first

    checksums = [_write_shard(objects, layout, hook, slab, values, values_chunks())]
    for i, array in enumerate(others):
        checksums.append(_write_shard(objects, layout, hook, slab, array, (rest[i] for rest in kept)))
    return np.concatenate(checksums)


def _chunks(layout: StoreLayout, hook: str, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    chunk_rows = layout.hooks[hook].chunk_rows
    for start in range(0, len(rows), chunk_rows):
        yield rows[start : start + chunk_rows].to("cpu").contiguous()


def _write_shard(
    objects: Objects, layout: StoreLayout, hook: str, slab: int, array: ShardedArray, chunks: Iterable[NDArray[Any]]
) -> NDArray[Any]:
    codec, present = get_codec(array.codec), layout.chunks_present(hook, slab)
    checksums, lengths = np.zeros(present, "<u4"), np.zeros(present, "<u8")

    def parts() -> Iterator[Any]:
        for i, chunk in enumerate(chunks):
            stored = codec.encode(_whole(chunk, array.chunk_rows))
            checksums[i] = crc32c(stored)
            lengths[i] = memoryview(stored).nbytes + CHECKSUM_BYTES
            yield stored
            yield checksums[i : i + 1]
        yield index_bytes(lengths, layout.chunks_per_shard(hook))

    objects.put(array.shard_key(slab), parts())
    return checksums


class Chunks(Protocol):
    """Where the rows of a hook come from, whole inner chunks at a time."""

    callers: int
    """Threads that may call at the same time."""
    bytes_per_call: int
    """About as much is best asked for at once."""

    def read_runs(self, hook: str, runs: Sequence[int], out: torch.Tensor, following: Sequence[int] = ()) -> None:
        """Fill `out` [runs · chunk_rows, …], rows in their stored form, with the chunks of these numbers.

        Those of `following` come next.
        """


class Shards:
    """The shards of a store, open for reading; safe to share between threads."""

    callers = 2  # more than a disk delivers
    bytes_per_call = 512 * 2**10  # half of a core's cache: what was read is still there when the pool takes it

    def __init__(self, objects: Objects, layout: StoreLayout) -> None:
        self._objects, self._layout = objects, layout
        # Kept open between calls: the kernel's read-ahead belongs to the open file, and is half of a cold read's speed.
        self._open: dict[tuple[str, int], list[ShardFile]] = {}

    def forget(self) -> None:
        """Close everything; objects that were replaced meanwhile are seen anew."""
        self._open.clear()

    def read_runs(self, hook: str, runs: Sequence[int], out: torch.Tensor, following: Sequence[int] = ()) -> None:
        """As each is read, one of the following is asked for, so that the disk always has some in hand."""
        run_rows = self._layout.hooks[hook].chunk_rows
        for i, run in enumerate(runs):
            if i < len(following):
                self._announce(hook, following[i])
            self.read_chunks(hook, run, out[i * run_rows : (i + 1) * run_rows])

    def read_chunks(self, hook: str, first: int, out: torch.Tensor) -> None:
        """Fill `out`, rows in their stored form, with whole chunks from global chunk number `first` on, of one slab."""
        slab, chunk = divmod(first, self._layout.chunks_per_shard(hook))
        each = self._layout.hooks[hook]
        per_call = min(max(READ_BYTES // each.chunk_bytes, 1), CHUNKS_PER_CALL)
        try:
            shards = self._shards(hook, slab)
            for start in range(0, len(out) // each.chunk_rows, per_call):
                rows = out[start * each.chunk_rows : (start + per_call) * each.chunk_rows]
                parts = columns(rows, each)
                for shard, part in zip(shards, parts, strict=True):
                    shard.read(chunk + start, part.reshape(-1, each.chunk_rows * part.shape[1]))
                join_columns(parts, rows, each)
        except BadShard as error:
            self.forget()
            raise damage(self._layout, hook, slab, str(error)) from None

    def _announce(self, hook: str, run: int) -> None:
        slab, chunk = divmod(run, self._layout.chunks_per_shard(hook))
        try:
            for shard in self._shards(hook, slab):
                shard.announce(chunk)
        except BadShard as error:
            raise damage(self._layout, hook, slab, str(error)) from None

    def _shards(self, hook: str, slab: int) -> list[ShardFile]:
        shards = self._open.get((hook, slab))
        if shards is None:
            arrays = self._layout.arrays(hook)
            shards = [open_shard(self._objects, self._layout, array, hook, slab) for array in arrays]
            if len(self._open) >= OPEN_READERS:
                self._open.clear()
            self._open[hook, slab] = shards
        return shards


def damage(layout: StoreLayout, hook: str, slab: int, what: str) -> Damaged:
    return Damaged(
        f"Slab {slab} of hook {hook!r} is damaged: {what}. Run `actpipe verify` on the store, then the same harvest "
        "again; it rewrites the damaged slabs only."
    )


def _whole(values: NDArray[Any], chunk_rows: int) -> NDArray[Any]:
    if len(values) == chunk_rows:
        return values
    whole = np.zeros((chunk_rows, values.shape[1]), values.dtype)
    whole[: len(values)] = values
    return whole
