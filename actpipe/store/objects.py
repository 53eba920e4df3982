"""Where the bytes of a store live: whole objects under keys, in a folder or behind a URL.

A key is a path below the store, such as `acts/blocks.9.hook_resid_post/c/3/0`. An object is there whole or not at all,
and once `put` returns it survives a power cut; nothing else of the store relies on files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from actpipe.errors import Misuse
from actpipe.places import Place

# Of buffers: bytes or contiguous arrays. One that was handed over may be written later: it must not change any more.
Parts: TypeAlias = Iterable[Any]


class Reader(ABC):
    """One object, open for reading; safe to share between threads."""

    size: int

    @abstractmethod
    def read(self, offset: int, parts: Sequence[Any]) -> bool:
        """Fill the buffers with consecutive bytes from `offset` on; false where the object ends before."""

    @abstractmethod
    def announce(self, offset: int, length: int) -> None:
        """Say that these bytes will be read soon. Only a hint."""


class Objects(ABC):
    place: Place

    @abstractmethod
    def put(self, key: str, parts: Parts) -> None:
        """Write the whole object, durably; an older one is replaced at once."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The whole object; FileNotFoundError where there is none."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes of the object; None where there is none."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Key → bytes of every object below the prefix."""

    @abstractmethod
    def names(self, prefix: str) -> list[str]:
        """What lies directly below the prefix, in any order; empty where nothing does."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object; does nothing where there is none."""

    @abstractmethod
    def reader(self, key: str) -> Reader:
        """FileNotFoundError where there is no such object."""

    @abstractmethod
    def building(self) -> AbstractContextManager[Path]:
        """Yield an empty folder that becomes the content of this place, all at once, when the block ends well.

        Raises Failure where another writer filled the place meanwhile.
        """

    @abstractmethod
    def zarr(self) -> Any:
        """What zarr-python opens, for reading."""

    @abstractmethod
    def clear_litter(self) -> None:
        """Remove what killed writers left. Only while nobody writes."""

    @abstractmethod
    def claim(self) -> AbstractContextManager[None]:
        """Keep other writers out for the length of the block; raises Failure where one is at work."""

    @abstractmethod
    def remove(self) -> None:
        """Remove everything, the store's end first; raises Failure where a writer is at work.

        The caller has made sure that this is a store.
        """

    def exists(self) -> bool:
        return self.size("zarr.json") is not None


def objects_at(place: Place) -> Objects:
    """`s3://bucket/store.zarr` and other URLs through obstore; everything else is a folder, `file:///path` too."""
    if isinstance(place, str) and "://" in place:
        url = urlsplit(place)
        if url.scheme != "file":
            from .remote import RemoteObjects

            return RemoteObjects(place)
        if url.netloc not in ("", "localhost") or not url.path.strip("/"):
            raise Misuse(f"{place} names no folder of this machine; write it as file:///folder/store.zarr.")
        place = unquote(url.path)
    from .local import LocalObjects

    return LocalObjects(Path(place))
