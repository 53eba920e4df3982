"""The end of a shard: where each inner chunk lies, and the checksum of that table."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checksums import crc32c
from .layout import CHECKSUM_BYTES, INDEX_ENTRY_BYTES
from .objects import Reader

ABSENT = 2**64 - 1


class BadShard(Exception):
    """What is wrong with a shard file, as half a sentence; who knows hook and slab completes it."""


def index_bytes(lengths: NDArray[Any], chunks_per_shard: int) -> bytes:
    """Of chunks that follow each other from the start of the shard on; the others are absent."""
    table = np.full((chunks_per_shard, 2), ABSENT, "<u8")
    table[: len(lengths), 0] = offsets_of(lengths)[:-1]
    table[: len(lengths), 1] = lengths
    content = table.tobytes()
    return content + struct.pack("<I", crc32c(content))


def offsets_of(lengths: NDArray[Any]) -> NDArray[np.uint64]:
    """[chunks + 1]: where each chunk starts, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.uint64)]).astype(np.uint64)


def read_index(reader: Reader, chunks_per_shard: int, present: int) -> NDArray[np.uint64]:
    """`offsets_of` the chunks of a shard file; raises BadShard where it is no such file."""
    size = chunks_per_shard * INDEX_ENTRY_BYTES + CHECKSUM_BYTES
    stored = bytearray(size)
    if reader.size < size or not reader.read(reader.size - size, [stored]):
        raise BadShard(f"its shard file has {reader.size} bytes, less than its index")
    lengths = np.frombuffer(stored, "<u8", 2 * chunks_per_shard).reshape(-1, 2)[:present, 1]
    ends = offsets_of(lengths)
    if index_bytes(lengths, chunks_per_shard) != stored or int(ends[-1]) + size != reader.size:
        raise BadShard("the index is not the one this shard must have")
    return ends
