"""Writing past the page cache: the bytes go from an aligned buffer to the disk.

A harvest writes far more than it will read again soon, on the cores that compute the model. Through the page cache each
byte costs a page to find, a copy and its writing back later; directly it costs one copy into a buffer that stays in the
processor's cache. Measured on a virtual machine whose pages are fresh: 3.6 GiB/s against 0.4, and 0.03 ms of a core a
MiB against 2; with recycled pages 2.2 GiB/s and 0.2 ms.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

# Every disk takes blocks of a page or a part of it; a mapping begins at a page.
BLOCK_BYTES = 4096
# Half of a core's second-level cache would be best for the copy, whole disk commands for the disk.
BUFFER_BYTES = 2 * 2**20
REFUSALS = (errno.EINVAL, errno.EOPNOTSUPP)  # of file systems without direct writing, such as tmpfs before Linux 6.6


class DirectWriter:
    """A buffer to write files with, one after the other."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, BUFFER_BYTES)
        self._buffer = np.frombuffer(self._memory, np.uint8)

    def write(self, descriptor: int, parts: Iterable[Any]) -> None:
        """Append all bytes of the parts to a file that is empty."""
        direct, filled = _set_direct(descriptor, True), 0
        for part in parts:
            rest = np.frombuffer(memoryview(part).cast("B"), np.uint8)
            while len(rest):
                count = min(len(rest), BUFFER_BYTES - filled)
                np.copyto(self._buffer[filled : filled + count], rest[:count])  # without the interpreter's lock
                filled, rest = filled + count, rest[count:]
                if filled == BUFFER_BYTES:
                    direct, filled = _put(descriptor, memoryview(self._memory), direct), 0
        whole = filled // BLOCK_BYTES * BLOCK_BYTES
        if _put(descriptor, memoryview(self._memory)[:whole], direct):
            _set_direct(descriptor, False)  # the last bytes are no whole block
        _put(descriptor, memoryview(self._memory)[whole:filled], False)


def _put(descriptor: int, view: memoryview, direct: bool) -> bool:
    """Whether writing is direct still: some file systems take the mode and refuse the first write."""
    while view:
        try:
            view = view[os.write(descriptor, view) :]  # in direct mode a part that was written is whole blocks
        except OSError as error:
            if not (direct and error.errno in REFUSALS):
                raise
            direct = _set_direct(descriptor, False)
    return direct


def _set_direct(descriptor: int, on: bool) -> bool:
    """Whether the file is in direct mode now."""
    mode = getattr(os, "O_DIRECT", 0)  # macOS has none
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~mode
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | (mode if on else 0))
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        return False
    return on and mode != 0
