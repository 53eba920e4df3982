"""CRC-32C of bytes and of arrays, and small Zarr chunks that carry their own."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from awscrt import checksums
from numpy.typing import NDArray

from actpipe.errors import Damaged

from .objects import Objects


def crc32c(content: bytes | NDArray[Any]) -> int:
    """Of a contiguous array without copying it and without the interpreter lock, at 60 GiB/s."""
    return int(checksums.crc32c(content))


def write_checked(objects: Objects, key: str, array: NDArray[Any]) -> None:
    """Write a whole Zarr chunk (codecs `bytes`, `crc32c`) durably."""
    content = array.tobytes()
    objects.put(key, [content + struct.pack("<I", crc32c(content))])


def read_checked(objects: Objects, key: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read such a chunk; raises Damaged when its size or its checksum is wrong."""
    content = objects.get(key)
    expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(content) != expected + 4:
        raise Damaged(f"{key} of {objects.place} has {len(content)} bytes instead of {expected + 4}.")
    values, (checksum,) = content[:-4], struct.unpack("<I", content[-4:])
    if crc32c(values) != checksum:
        raise Damaged(f"The checksum of {key} of {objects.place} does not match its content.")
    return np.frombuffer(values, dtype).reshape(shape)
