"""The contract of a codec, and name → codec. An entry is a line under `register` in a file that `__init__` imports, or
in a plugin (sae/plugins.py).

A codec makes the bytes of one inner chunk smaller, without loss and the same way each time: slabs are compared by their
bytes. Checksums lie outside it, over the bytes on the disk, so that damage is found before anything is decompressed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse
from sae.plugins import Registry

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Codec(ABC):
    name: str
    description: str
    """One line for people who choose: what it saves, what it costs."""
    growth_bytes: int
    """The most that it adds to a chunk which cannot be made smaller."""

    @property
    def is_identity(self) -> bool:
        """Whether chunks are stored as they are, so that their places follow from their numbers."""
        return False

    @abstractmethod
    def encode(self, chunk: NDArray[Any]) -> Any:
        """The stored bytes of a contiguous chunk, as a buffer; its item size says which bytes are alike."""

    @abstractmethod
    def decode(self, stored: Bytes, out: NDArray[Any]) -> None:
        """Fill `out`, contiguous; raises ValueError where the bytes are no such chunk."""

    @abstractmethod
    def zarr(self, *, itemsize: int, chunk_bytes: int) -> list[Any]:
        """The codecs, bytes to bytes, that an array's metadata names, as objects of zarr-python."""


_registered: Registry[Codec] = Registry("codecs")


def register(codec: Codec) -> None:
    _registered.add(codec.name, codec)


def get_codec(name: str) -> Codec:
    if name not in _registered:
        raise Misuse(f"There is no codec {name!r}; choose one of {', '.join(codec_names())}.")
    return _registered[name]


def codec_names() -> dict[str, str]:
    """Name → one line about it, the default first."""
    return {name: codec.description for name, codec in sorted(_registered.items(), key=lambda item: item[0] != "none")}
