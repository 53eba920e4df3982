"""Shard files, written and read directly: an uncompressed Zarr v3 shard is its chunks, their checksums and an index.

Doing it here is several times faster than through zarr-python, which copies each chunk two or three times
(docs/reference/store-format.md has the bytes).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Damaged

from .checksums import crc32c
from .dtypes import TORCH, convert, empty, words
from .layout import CHECKSUM_BYTES, StoreLayout
from .objects import Objects, Reader

ABSENT = 2**64 - 1
# Bytes of one reading call: small enough that what was read is still in the cache when its checksum is taken.
READ_BYTES = 2 * 2**20
CHUNKS_PER_CALL = 256  # two buffers each; one call takes 1024
OPEN_READERS = 64


def stored_chunks(layout: StoreLayout, hook: str, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """Cut the rows of a slab [n, width] into inner chunks in the stored data type; the last may be short."""
    each = layout.hooks[hook]
    for start in range(0, len(rows), each.chunk_rows):
        part = rows[start : start + each.chunk_rows].to("cpu")
        if part.dtype == TORCH[each.dtype]:
            yield part.contiguous()
        else:
            yield convert(part, empty(len(part), each.width, each.dtype))


def write_shard(objects: Objects, layout: StoreLayout, hook: str, slab: int, rows: torch.Tensor) -> NDArray[Any]:
    """Write one shard durably; returns the checksums of its chunks (uint32 [chunks])."""
    checksums = np.zeros(layout.chunks_present(hook, slab), "<u4")

    def parts() -> Iterator[Any]:
        for i, chunk in enumerate(stored_chunks(layout, hook, rows)):
            values = _whole(words(chunk), layout.hooks[hook].chunk_rows)
            checksums[i] = crc32c(values)
            yield values
            yield checksums[i : i + 1]
        yield shard_index(layout, hook, slab)

    objects.put(layout.shard_key(hook, slab), parts())
    return checksums


def shard_index(layout: StoreLayout, hook: str, slab: int) -> bytes:
    """The end of a shard file: where each inner chunk lies, and the checksum of that table."""
    table = np.full((layout.chunks_per_shard(hook), 2), ABSENT, "<u8")
    length = layout.hooks[hook].chunk_bytes + CHECKSUM_BYTES
    present = layout.chunks_present(hook, slab)
    table[:present, 0] = np.arange(present, dtype="<u8") * np.uint64(length)
    table[:present, 1] = length
    content = table.tobytes()
    return content + struct.pack("<I", crc32c(content))


class Chunks(Protocol):
    """Where the rows of a hook come from, whole inner chunks at a time."""

    def read_runs(self, hook: str, runs: Sequence[int], out: torch.Tensor, following: Sequence[int] = ()) -> None:
        """Fill `out` [runs · chunk_rows, width] with the chunks of these numbers; those of `following` come next."""


class Shards:
    """The shards of a store, open for reading; safe to share between threads."""

    def __init__(self, objects: Objects, layout: StoreLayout) -> None:
        self._objects, self._layout = objects, layout
        # Kept open between calls: the kernel's read-ahead belongs to the open file, and is half of a cold read's speed.
        self._open: dict[tuple[str, int], Reader] = {}

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
        """Fill `out` [k · chunk_rows, width] with k chunks from global chunk number `first` on, all of one slab."""
        slab, chunk = divmod(first, self._layout.chunks_per_shard(hook))
        each = self._layout.hooks[hook]
        values = words(out).reshape(-1, each.chunk_rows * each.width)
        per_call = min(max(READ_BYTES // each.chunk_bytes, 1), CHUNKS_PER_CALL)
        reader = self._reader(hook, slab)
        try:
            for start in range(0, len(values), per_call):
                part = values[start : start + per_call]
                _read_some(reader, self._layout, hook, slab, chunk + start, part)
        except Damaged:
            self.forget()
            raise

    def _announce(self, hook: str, run: int) -> None:
        slab, chunk = divmod(run, self._layout.chunks_per_shard(hook))
        self._reader(hook, slab).announce(self._layout.chunk_offset(hook, chunk), self._layout.chunk_offset(hook, 1))

    def _reader(self, hook: str, slab: int) -> Reader:
        """A missing object is damage, because only committed slabs are read."""
        reader = self._open.get((hook, slab))
        if reader is None:
            try:
                reader = self._objects.reader(self._layout.shard_key(hook, slab))
            except FileNotFoundError:
                raise damage(self._layout, hook, slab, "its shard file is missing") from None
            if len(self._open) >= OPEN_READERS:
                self._open.clear()
            self._open[hook, slab] = reader
        return reader


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


def _read_some(reader: Reader, layout: StoreLayout, hook: str, slab: int, chunk: int, values: NDArray[Any]) -> None:
    """Read consecutive chunks with their checksums in one call, then check each."""
    checksums = np.zeros(len(values), "<u4")
    parts: list[Any] = [part for i in range(len(values)) for part in (values[i], checksums[i : i + 1])]
    if not reader.read(layout.chunk_offset(hook, chunk), parts):
        raise damage(layout, hook, slab, f"its shard file ends before the end of chunk {chunk + len(values) - 1}")
    for i, checksum in enumerate(checksums):
        if crc32c(values[i]) != checksum:
            raise damage(layout, hook, slab, f"the checksum of chunk {chunk + i} does not match its content")
