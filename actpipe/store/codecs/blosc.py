"""Frames of Blosc 1, a codec of the Zarr v3 specification: shuffled bytes or bits, then a general compressor.

A frame holds one block, the whole chunk. Blosc's own choice cuts a chunk into small blocks, which mixes the planes of
bytes again: bfloat16 residual rows shrink by 1.25 instead of 1.41 (docs/decisions/0006). One block is also never shared
among Blosc's threads, whose order would decide the bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from .registry import Bytes, Codec, register

HEADER_BYTES = 16
_SHUFFLES = {"shuffle": 1, "bitshuffle": 2}


@dataclass(frozen=True, kw_only=True)
class Blosc(Codec):
    compressor: Literal["zstd", "lz4"]
    level: int
    shuffle: Literal["shuffle", "bitshuffle"]
    growth_bytes: int = HEADER_BYTES

    def encode(self, chunk: NDArray[Any]) -> Any:
        from numcodecs import blosc

        return blosc.compress(chunk, self.compressor.encode(), self.level, _SHUFFLES[self.shuffle], chunk.nbytes)

    def decode(self, stored: Bytes, out: NDArray[Any]) -> None:
        from numcodecs import blosc

        # numcodecs does not tell Blosc how long a frame is, and Blosc would read on.
        header = stored[:HEADER_BYTES].tobytes()
        said = struct.unpack("<4xI4xI", header) if len(header) == HEADER_BYTES else None
        if said != (out.nbytes, len(stored)):
            raise ValueError("not a frame of this length")
        try:
            blosc.decompress(stored, out)
        except RuntimeError as error:
            raise ValueError(str(error)) from None

    def zarr(self, *, itemsize: int, chunk_bytes: int) -> list[Any]:
        from zarr.codecs import BloscCodec

        return [
            BloscCodec(
                typesize=itemsize,
                cname=self.compressor,
                clevel=self.level,
                shuffle=self.shuffle,
                blocksize=chunk_bytes,
            )
        ]


register(
    Blosc(
        name="zstd",
        description="bfloat16 1.4 times smaller; a core compresses about 1 GB a second, decompresses 3",
        compressor="zstd",
        level=1,
        shuffle="shuffle",
    )
)
register(
    Blosc(
        name="lz4",
        description="bfloat16 1.2 to 1.3 times smaller; a core compresses about 3 GB a second, decompresses 4",
        compressor="lz4",
        level=5,
        shuffle="bitshuffle",
    )
)
