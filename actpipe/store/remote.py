"""Objects in an object store (S3 and what speaks its language, Google, Azure), through obstore.

A PUT is whole or absent by itself, so nothing is renamed; what a folder does by names and locks is done by conditional
writes: the root of a new store is created, never replaced, and one writer at a time holds the lease (lease.py).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from actpipe.errors import Failure, Missing, Misuse

from .lease import Lease, held
from .objects import Objects, Parts, Reader
from .read_ahead import Ahead, ReadAhead
from .remote_errors import told

SCHEMES = ("s3", "gs", "az")
# Of one upload: four parts of 8 MiB in flight, so no shard is ever in memory twice; S3 takes 10 000 parts (78 GiB).
PART_BYTES, PARTS_AT_ONCE = 8 * 2**20, 4
SMALL_UPLOADS = 16  # at once, of the objects that a new store consists of
# A service that does not answer is given up after about half a minute, one that answers slowly after three.
RETRIES: Any = {
    "max_retries": 8,
    "retry_timeout": timedelta(minutes=3),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=10), "base": 2},
}
# Below an array, where no Zarr reader looks for members; at the root zarr-python would warn of it.
LEASE_KEY = "commit/harvest.lease"


class RemoteObjects(Objects):
    """Credentials, region and endpoint come from the environment (docs/how-to/object-stores.md)."""

    def __init__(self, place: str) -> None:
        self.place: str = place.rstrip("/")
        self._store = _opened(self.place)
        self._ahead = Ahead()
        self._lease: Lease | None = None

    def put(self, key: str, parts: Parts) -> None:
        if self._lease is not None:
            self._lease.require()
        views = (memoryview(part).cast("B") for part in parts)
        first, n_bytes = [], 0
        for view in views:
            first.append(view)
            n_bytes += len(view)
            if n_bytes >= PART_BYTES:
                break
        small = n_bytes < PART_BYTES
        content: Any = b"".join(first) if small else chain(first, views)
        sizes = {"chunk_size": PART_BYTES, "max_concurrency": PARTS_AT_ONCE}
        with told(self.place):
            self._store.put(key, content, use_multipart=not small, **sizes)

    def get(self, key: str) -> bytes:
        with told(self.place):
            return bytes(self._store.get(key).bytes())

    def size(self, key: str) -> int | None:
        try:
            with told(self.place):
                return int(self._store.head(key)["size"])
        except FileNotFoundError:
            return None

    def sizes(self, prefix: str = "") -> dict[str, int]:
        with told(self.place):
            return {each["path"]: each["size"] for page in self._store.list(prefix or None) for each in page}

    def names(self, prefix: str) -> list[str]:
        with told(self.place):
            found = self._store.list_with_delimiter(prefix)
        keys = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return [key.rstrip("/").rsplit("/", 1)[-1] for key in keys]

    def delete(self, key: str) -> None:
        with told(self.place):
            self._store.delete(key)

    def reader(self, key: str) -> Reader:
        with told(self.place):
            size = int(self._store.head(key)["size"])

        def fetch(start: int, length: int) -> Any:
            with told(self.place):
                return self._store.get_range(key, start=start, length=length)

        return ReadAhead(fetch, size, self._ahead)

    @contextmanager
    def building(self) -> Iterator[Path]:
        """Through a temporary folder (TMPDIR); the root goes last, and without it there is no store."""
        with self.claim(), tempfile.TemporaryDirectory(prefix="actpipe-") as temporary:
            if self.exists():
                raise self._began_already()
            folder = Path(temporary)
            yield folder
            keys = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
            self._refuse_others(set(keys))
            with ThreadPoolExecutor(SMALL_UPLOADS) as pool:
                list(pool.map(lambda key: self.put(key, [(folder / key).read_bytes()]), set(keys) - {"zarr.json"}))
            self._publish((folder / "zarr.json").read_bytes())

    def zarr(self) -> Any:
        from .remote_zarr import RemoteZarr

        return RemoteZarr(self._store, place=self.place)

    def clear_litter(self) -> None:
        """There is none that can be seen: the parts of an upload that was cut off expire by the bucket's rules."""

    @contextmanager
    def claim(self) -> Iterator[None]:
        with held(self._store, LEASE_KEY, self.place) as lease:
            self._lease = lease
            try:
                yield
            finally:
                self._lease = None

    def remove(self) -> None:
        with self.claim():
            self.delete("zarr.json")  # from here on there is no store, whatever happens
            keys = [key for key in self.sizes() if key != LEASE_KEY]
            with told(self.place):
                self._store.delete(keys)

    def _refuse_others(self, keys: set[str]) -> None:
        """What a killed creation of this very store left is overwritten; anything else is not ours to touch."""
        others = sorted(set(self.sizes()) - keys - {LEASE_KEY})
        if others:
            raise Misuse(
                f"{self.place} is not a store and not empty (there is {others[0]}, and {len(others) - 1} more); "
                "name another place with --out, or remove what is there."
            )

    def _publish(self, root: bytes) -> None:
        from obstore.exceptions import AlreadyExistsError

        try:
            with told(self.place):
                self._store.put("zarr.json", root, mode="create")
        except AlreadyExistsError:
            if self.get("zarr.json") != root:  # else it was this very call, whose answer was lost
                raise self._began_already() from None
        except NotImplementedError:  # AWS_CONDITIONAL_PUT=disabled
            self.put("zarr.json", [root])

    def _began_already(self) -> Failure:
        return Failure(
            f"Another harvest began {self.place} at the same moment. Run the same command again to continue it."
        )


def _opened(place: str) -> Any:
    url = urlsplit(place)
    if url.scheme not in SCHEMES:
        raise Misuse(
            f"{place} has a scheme that cannot hold a store; use a folder or one of "
            f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}."
        )
    if not url.netloc or not url.path.strip("/") or url.query or url.fragment:
        raise Misuse(f"{place} names no place in a bucket; write it as {url.scheme}://bucket/folder/store.zarr.")
    if url.scheme == "az" and not ({"AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR"} & os.environ.keys()):
        raise Missing(f"{place} needs the name of a storage account; set AZURE_STORAGE_ACCOUNT_NAME.")
    if url.scheme == "s3":
        _check_endpoint(place)
    try:
        from obstore.store import from_url
    except ImportError:
        raise Missing(f"{place} is in an object store; reading those needs `pip install obstore`.") from None
    with told(place):
        # Without client options: they would replace those of the environment, AWS_ALLOW_HTTP and AWS_TIMEOUT too.
        return from_url(place, retry_config=RETRIES)


def _check_endpoint(place: str) -> None:
    """obstore ends in a panic where this is not a URL."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        endpoint = os.environ.get(name, "https://")
        if not endpoint.startswith(("https://", "http://")) or " " in endpoint:
            raise Misuse(f"{name} is {endpoint!r}, which is no URL for {place}; write it as https://host:port.")
