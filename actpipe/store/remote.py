"""Objects in an object store (S3, GCS, Azure, memory), through obstore: a PUT is whole or absent by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actpipe.errors import Failure

from .objects import Objects, Parts, Reader


class RemoteObjects(Objects):
    """Credentials, region and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …)."""

    def __init__(self, place: str) -> None:
        from obstore.store import from_url

        self.place: str = place.rstrip("/")
        self._store = from_url(self.place)

    def put(self, key: str, parts: Parts) -> None:
        self._store.put(key, iter(bytes(part) for part in parts))

    def get(self, key: str) -> bytes:
        return bytes(self._store.get(key).bytes())

    def size(self, key: str) -> int | None:
        try:
            return int(self._store.head(key)["size"])
        except FileNotFoundError:
            return None

    def sizes(self, prefix: str = "") -> dict[str, int]:
        return {each["path"]: each["size"] for part in self._store.list(prefix or None) for each in part}

    def names(self, prefix: str) -> list[str]:
        found = self._store.list_with_delimiter(prefix)
        keys = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return [key.rstrip("/").rsplit("/", 1)[-1] for key in keys]

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def reader(self, key: str) -> Reader:
        return _Object(self._store, key)

    @contextmanager
    def building(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            yield folder
            files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / "zarr.json")
            for file in files:
                self._store.put(file.relative_to(folder).as_posix(), file)
            self._publish((folder / "zarr.json").read_bytes())

    def zarr(self) -> Any:
        from zarr.storage import ObjectStore

        return ObjectStore(self._store, read_only=True)

    def clear_litter(self) -> None:
        """There is none: an interrupted PUT leaves nothing."""

    def _publish(self, root: bytes) -> None:
        """The root comes last: without it there is no store."""
        from obstore.exceptions import AlreadyExistsError

        try:
            self._store.put("zarr.json", root, mode="create")
        except AlreadyExistsError:
            raise Failure(
                f"Another harvest began {self.place} at the same moment. Run the same command again to continue it."
            ) from None


class _Object(Reader):
    def __init__(self, store: Any, key: str) -> None:
        self._store, self._key = store, key
        self.size = int(store.head(key)["size"])

    def read(self, offset: int, parts: Sequence[Any]) -> bool:
        views = [memoryview(part).cast("B") for part in parts]
        wanted = sum(len(view) for view in views)
        if offset + wanted > self.size:
            return False
        content = memoryview(self._store.get_range(self._key, start=offset, length=wanted))
        for view in views:
            view[:] = content[: len(view)]
            content = content[len(view) :]
        return True

    def announce(self, offset: int, length: int) -> None:
        """Ranges are asked for one by one."""
