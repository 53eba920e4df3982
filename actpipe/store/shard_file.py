"""One shard file, open for reading: its chunks, each with its checksum, and where they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checksums import crc32c
from .codecs import Codec, get_codec
from .layout import CHECKSUM_BYTES, ShardedArray, StoreLayout
from .objects import Objects, Reader
from .shard_index import BadShard, read_index


class ShardFile(ABC):
    def __init__(self, array: ShardedArray, reader: Reader) -> None:
        self.array, self.reader = array, reader

    @abstractmethod
    def offset(self, chunk: int) -> int:
        """Byte where a chunk starts; of the one after the last, where that ends."""

    @abstractmethod
    def read(self, chunk: int, values: NDArray[Any]) -> None:
        """Fill `values` [chunks, values of one] with consecutive chunks, in one call, checked."""

    def announce(self, chunk: int) -> None:
        begin = self.offset(chunk)
        self.reader.announce(begin, self.offset(chunk + 1) - begin)

    def stored(self, chunk: int) -> tuple[NDArray[np.uint8], int]:
        """What lies on the disk for one chunk, and the checksum beside it, not compared."""
        content = np.empty(self.offset(chunk + 1) - self.offset(chunk), np.uint8)
        self._fill(chunk, 1, [content])
        return content[:-CHECKSUM_BYTES], _checksum(content)

    def _fill(self, chunk: int, chunks: int, parts: list[Any]) -> None:
        if not self.reader.read(self.offset(chunk), parts):
            raise BadShard(f"its shard file{self.array.of} ends before the end of chunk {chunk + chunks - 1}")

    def _check(self, chunk: int, stored: NDArray[Any], checksum: int) -> None:
        if crc32c(stored) != checksum:
            raise BadShard(f"the checksum of chunk {chunk}{self.array.of} does not match its content")


class _Plain(ShardFile):
    """Chunks are stored as they are: places are arithmetic, and bytes go straight to where they are wanted."""

    def __init__(self, array: ShardedArray, reader: Reader) -> None:
        super().__init__(array, reader)
        self.stride = array.chunk_bytes + CHECKSUM_BYTES

    def offset(self, chunk: int) -> int:
        return chunk * self.stride

    def read(self, chunk: int, values: NDArray[Any]) -> None:
        checksums = np.empty(len(values), "<u4")
        self._fill(chunk, len(values), [part for i in range(len(values)) for part in (values[i], checksums[i : i + 1])])
        for i, checksum in enumerate(checksums.tolist()):
            self._check(chunk + i, values[i], checksum)


class _Compressed(ShardFile):
    """Chunks of unequal lengths; the index at the end of the file is read once."""

    def __init__(self, array: ShardedArray, reader: Reader, codec: Codec, offsets: NDArray[np.uint64]) -> None:
        super().__init__(array, reader)
        self.codec, self.offsets = codec, offsets.tolist()

    def offset(self, chunk: int) -> int:
        return self.offsets[chunk]  # type: ignore[no-any-return]

    def read(self, chunk: int, values: NDArray[Any]) -> None:
        begin = self.offset(chunk)
        content = np.empty(self.offset(chunk + len(values)) - begin, np.uint8)
        self._fill(chunk, len(values), [content])
        for i, out in enumerate(values, chunk):
            whole = content[self.offset(i) - begin : self.offset(i + 1) - begin]
            self._check(i, whole[:-CHECKSUM_BYTES], _checksum(whole))
            try:
                self.codec.decode(whole[:-CHECKSUM_BYTES], out)
            except ValueError as error:
                raise BadShard(f"chunk {i}{self.array.of} cannot be decompressed ({error})") from None


def open_shard(objects: Objects, layout: StoreLayout, array: ShardedArray, hook: str, slab: int) -> ShardFile:
    """Raises BadShard where the file is missing or its index, if it is needed, makes no sense."""
    try:
        reader = objects.reader(array.shard_key(slab))
    except FileNotFoundError:
        raise BadShard(f"its shard file{array.of} is missing") from None
    codec = get_codec(array.codec)
    if codec.is_identity:
        return _Plain(array, reader)
    offsets = read_index(reader, layout.chunks_per_shard(hook), layout.chunks_present(hook, slab))
    return _Compressed(array, reader, codec, offsets)


def _checksum(content: NDArray[np.uint8]) -> int:
    return int.from_bytes(content[-CHECKSUM_BYTES:].tobytes(), "little")
