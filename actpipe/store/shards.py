"""Shard files, written and read directly: an uncompressed Zarr v3 shard is its chunks, their checksums and an index.

Doing it here is several times faster than through zarr-python, which copies each chunk two or three times
(docs/reference/store-format.md has the bytes).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Damaged
from actpipe.files import atomic_file

from .checksums import crc32c, make_folder
from .dtypes import TORCH, words
from .layout import CHECKSUM_BYTES, StoreLayout

ABSENT = 2**64 - 1
# Chunks of one system call: small enough that what was read is still in the cache when its checksum is taken.
CHUNKS_PER_CALL = 8


def stored_chunks(layout: StoreLayout, hook: str, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """Cut the rows of a slab [n, width] into inner chunks in the stored data type; the last may be short."""
    dtype = TORCH[layout.dtype]
    step = layout.hooks[hook].chunk_rows
    for start in range(0, len(rows), step):
        yield rows[start : start + step].to(device="cpu", dtype=dtype).contiguous()


def write_shard(path: Path, layout: StoreLayout, hook: str, slab: int, rows: torch.Tensor) -> NDArray[Any]:
    """Write one shard durably; returns the checksums of its chunks (uint32 [chunks])."""
    target = path / layout.shard_path(hook, slab)
    make_folder(target.parent)
    checksums = np.zeros(layout.chunks_present(hook, slab), "<u4")
    with atomic_file(target) as file:
        pending: list[Any] = []
        for i, chunk in enumerate(stored_chunks(layout, hook, rows)):
            values = _whole(words(chunk), layout.hooks[hook].chunk_rows)
            checksums[i] = crc32c(values)
            pending += [values, checksums[i : i + 1]]
            if len(pending) == 2 * CHUNKS_PER_CALL:
                _write_all(file.fileno(), pending)
                pending = []
        _write_all(file.fileno(), [*pending, shard_index(layout, hook, slab)])
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


def read_chunks(path: Path, layout: StoreLayout, hook: str, first: int, out: torch.Tensor) -> None:
    """Fill `out` [k · chunk_rows, width] with k chunks from global chunk number `first` on, all of one slab."""
    slab, chunk = divmod(first, layout.chunks_per_shard(hook))
    with open_shard(path, layout, hook, slab) as file:
        values = words(out).reshape(-1, layout.hooks[hook].chunk_rows * layout.hooks[hook].width)
        for start in range(0, len(values), CHUNKS_PER_CALL):
            _read_some(file.fileno(), layout, hook, slab, chunk + start, values[start : start + CHUNKS_PER_CALL])


def open_shard(path: Path, layout: StoreLayout, hook: str, slab: int) -> Any:
    """The shard file, unbuffered; a missing one is damage, because only committed slabs are read."""
    try:
        return open(path / layout.shard_path(hook, slab), "rb", buffering=0)
    except FileNotFoundError:
        raise damage(layout, hook, slab, "its shard file is missing") from None


def damage(layout: StoreLayout, hook: str, slab: int, what: str) -> Damaged:
    return Damaged(
        f"Slab {slab} of hook {hook!r} is damaged: {what}. Delete {layout.commit_path(slab)} in the store and run the "
        "same harvest again; it rewrites that slab only."
    )


def _whole(values: NDArray[Any], chunk_rows: int) -> NDArray[Any]:
    if len(values) == chunk_rows:
        return values
    whole = np.zeros((chunk_rows, values.shape[1]), values.dtype)
    whole[: len(values)] = values
    return whole


def _write_all(descriptor: int, parts: list[Any]) -> None:
    views = [memoryview(part).cast("B") for part in parts]
    while views:
        written = os.writev(descriptor, views)
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if views:
            views[0] = views[0][written:]


def _read_some(fd: int, layout: StoreLayout, hook: str, slab: int, chunk: int, values: NDArray[Any]) -> None:
    """Read consecutive chunks with their checksums in one call, then check each."""
    checksums = np.zeros(len(values), "<u4")
    parts: list[Any] = [part for i in range(len(values)) for part in (values[i], checksums[i : i + 1])]
    offset = layout.chunk_offset(hook, chunk)
    expected = layout.chunk_offset(hook, len(values))
    if os.preadv(fd, parts, offset) != expected and not _read_slowly(fd, parts, offset):
        raise damage(layout, hook, slab, f"its shard file ends before the end of chunk {chunk + len(values) - 1}")
    for i, checksum in enumerate(checksums):
        if crc32c(values[i]) != checksum:
            raise damage(layout, hook, slab, f"the checksum of chunk {chunk + i} does not match its content")


def _read_slowly(fd: int, parts: list[Any], offset: int) -> bool:
    """Part by part, for a call that returned less than asked for; false at the end of the file."""
    for view in (memoryview(part).cast("B") for part in parts):
        while view:
            count = os.preadv(fd, [view], offset)
            if count == 0:
                return False
            offset, view = offset + count, view[count:]
    return True
