"""No compression: the default, because a disk is faster than every codec."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .registry import Bytes, Codec, register


class Identity(Codec):
    @property
    def is_identity(self) -> bool:
        return True

    def encode(self, chunk: NDArray[Any]) -> Any:
        return chunk

    def decode(self, stored: Bytes, out: NDArray[Any]) -> None:
        if stored.nbytes != out.nbytes:
            raise ValueError(f"{stored.nbytes} bytes instead of {out.nbytes}")
        out.reshape(-1).view(np.uint8)[:] = stored

    def zarr(self, *, itemsize: int, chunk_bytes: int) -> list[Any]:
        return []


register(Identity(name="none", description="as they are: the fastest to write and to read", growth_bytes=0))
