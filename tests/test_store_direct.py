"""Writing past the page cache leaves the same bytes, on file systems that take it and on those that do not."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from actpipe.store import direct
from actpipe.store.direct import BLOCK_BYTES, BUFFER_BYTES, DirectWriter

SIZES = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, BUFFER_BYTES, BUFFER_BYTES + 5, 3 * BUFFER_BYTES - 1]


def parts_of(content):
    """Pieces of many sizes and types, as chunks and checksums are."""
    at, step = 0, 1
    while at < len(content):
        piece = content[at : at + step]
        yield piece if step % 2 else np.frombuffer(piece, np.uint8)
        at, step = at + step, step * 7 % 999_983


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("folder", ["disk", "memory"])
def test_a_file_holds_its_parts(tmp_path, size, folder):
    place = tmp_path if folder == "disk" else memory_folder()
    content, path = np.random.default_rng(size).bytes(size), place / f"actpipe-direct-{os.getpid()}"
    try:
        for _ in range(2):  # a writer serves one file after the other
            with open(path, "wb") as file:
                writer = DirectWriter()
                writer.write(file.fileno(), parts_of(content))
            assert path.read_bytes() == content
    finally:
        path.unlink(missing_ok=True)


def memory_folder():
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("this system has no file system in memory at /dev/shm")
    return Path("/dev/shm")


def test_the_disk_is_written_past_the_cache_where_it_can_be(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        assert direct._set_direct(file.fileno(), True) == hasattr(os, "O_DIRECT")
        assert not direct._set_direct(file.fileno(), False)


def test_a_refusal_in_the_middle_loses_nothing(tmp_path, monkeypatch):
    content, calls, write = np.random.default_rng(0).bytes(2 * BUFFER_BYTES + 77), [], os.write

    def refusing(descriptor, view):
        calls.append(len(view))
        if len(calls) == 1:
            return write(descriptor, view[:BLOCK_BYTES])
        if len(calls) == 2:
            raise OSError(errno.EINVAL, "not in this mode")
        return write(descriptor, view)

    monkeypatch.setattr(os, "write", refusing)
    with open(tmp_path / "file", "wb") as file:
        DirectWriter().write(file.fileno(), [content])
    assert (tmp_path / "file").read_bytes() == content


def test_a_full_disk_is_no_refusal(tmp_path, monkeypatch):
    def full(descriptor, view):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "write", full)
    with open(tmp_path / "file", "wb") as file, pytest.raises(OSError, match="no space"):
        DirectWriter().write(file.fileno(), [bytes(BUFFER_BYTES)])
