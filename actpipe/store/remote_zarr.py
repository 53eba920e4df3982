"""An object store as zarr-python reads it, with our sentences for what the service refuses."""

from __future__ import annotations

from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from .remote_errors import told


class RemoteZarr(ObjectStore[Any]):
    def __init__(self, store: Any, *, read_only: bool = True, place: str = "") -> None:
        super().__init__(store, read_only=read_only)
        self.place = place

    def __str__(self) -> str:  # obstore's own panics for Azure
        return self.place

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        with told(self.place):
            return await super().get(key, prototype, byte_range)
