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
from .dtypes import TORCH, convert, empty, words
from .layout import CHECKSUM_BYTES, StoreLayout

ABSENT = 2**64 - 1
# Bytes of one reading call: small enough that what was read is still in the cache when its checksum is taken.
READ_BYTES = 2 * 2**20
# Bytes of one writing call; the disk starts on them while the next are copied (measured best between 8 and 64 MiB).
WRITE_BYTES = 16 * 2**20
OPEN_FILES = 64


def stored_chunks(layout: StoreLayout, hook: str, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """Cut the rows of a slab [n, width] into inner chunks in the stored data type; the last may be short."""
    each = layout.hooks[hook]
    for start in range(0, len(rows), each.chunk_rows):
        part = rows[start : start + each.chunk_rows].to("cpu")
        if part.dtype == TORCH[each.dtype]:
            yield part.contiguous()
        else:
            yield convert(part, empty(len(part), each.width, each.dtype))


def write_shard(path: Path, layout: StoreLayout, hook: str, slab: int, rows: torch.Tensor) -> NDArray[Any]:
    """Write one shard durably; returns the checksums of its chunks (uint32 [chunks])."""
    target = path / layout.shard_path(hook, slab)
    make_folder(target.parent)
    checksums = np.zeros(layout.chunks_present(hook, slab), "<u4")
    chunk_rows, chunk_bytes = layout.hooks[hook].chunk_rows, layout.hooks[hook].chunk_bytes
    per_call = max(WRITE_BYTES // chunk_bytes, 1)
    with atomic_file(target) as file:
        pending: list[Any] = []
        for i, chunk in enumerate(stored_chunks(layout, hook, rows)):
            values = _whole(words(chunk), chunk_rows)
            checksums[i] = crc32c(values)
            pending += [values, checksums[i : i + 1]]
            if len(pending) == 2 * per_call:
                _write_all(file.fileno(), pending)
                _start_writeback(file.fileno(), layout.chunk_offset(hook, i + 1 - per_call), per_call * chunk_bytes)
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


class Shards:
    """The shards of a store, open for reading; safe to share between threads."""

    def __init__(self, path: Path, layout: StoreLayout) -> None:
        self._path, self._layout = path, layout
        # Kept open between calls: the kernel's read-ahead belongs to the open file, and is half of a cold read's speed.
        self._files: dict[tuple[str, int], _OpenFile] = {}

    def forget(self) -> None:
        """Close everything; files that were replaced meanwhile are seen anew."""
        self._files.clear()

    def read_chunks(self, hook: str, first: int, out: torch.Tensor) -> None:
        """Fill `out` [k · chunk_rows, width] with k chunks from global chunk number `first` on, all of one slab."""
        slab, chunk = divmod(first, self._layout.chunks_per_shard(hook))
        each = self._layout.hooks[hook]
        values = words(out).reshape(-1, each.chunk_rows * each.width)
        per_call = max(READ_BYTES // each.chunk_bytes, 1)
        file = self.open(hook, slab)
        try:
            for start in range(0, len(values), per_call):
                part = values[start : start + per_call]
                _read_some(file.descriptor, self._layout, hook, slab, chunk + start, part)
        except Damaged:
            self.forget()
            raise

    def announce(self, hook: str, first: int, chunks: int) -> None:
        """Ask the disk for chunks of one slab without waiting for them."""
        slab, chunk = divmod(first, self._layout.chunks_per_shard(hook))
        offset, length = self._layout.chunk_offset(hook, chunk), self._layout.chunk_offset(hook, chunks)
        _advise(self.open(hook, slab).descriptor, offset, length, "POSIX_FADV_WILLNEED")

    def open(self, hook: str, slab: int) -> _OpenFile:
        """A missing file is damage, because only committed slabs are read."""
        file = self._files.get((hook, slab))
        if file is None:
            try:
                file = _OpenFile(self._path / self._layout.shard_path(hook, slab))
            except FileNotFoundError:
                raise damage(self._layout, hook, slab, "its shard file is missing") from None
            if len(self._files) >= OPEN_FILES:
                self._files.clear()
            self._files[hook, slab] = file
        return file


class _OpenFile:
    """Closed when the last thread that uses it lets go."""

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


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


def _start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Let the disk begin on bytes just written. They stay in memory: pages that are not clean yet cannot be dropped."""
    _advise(descriptor, offset, length, "POSIX_FADV_DONTNEED")


def _advise(descriptor: int, offset: int, length: int, advice: str) -> None:
    if hasattr(os, "posix_fadvise"):  # macOS has none; it is only a hint
        os.posix_fadvise(descriptor, offset, length, getattr(os, advice))


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
