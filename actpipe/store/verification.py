"""Reads a whole store and names what is damaged."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import ActpipeError, Damaged
from actpipe.places import Place
from actpipe.progress import Progress, silent

from .checksums import crc32c, read_checked
from .commit import read_commit, recorded_slabs
from .health_record import health_key, record_width
from .layout import ShardedArray, StoreLayout
from .metadata import TEXT_DTYPES, fingerprint, read_text, write_arrays
from .objects import Objects
from .shard_file import open_shard
from .shard_index import BadShard, read_index

if TYPE_CHECKING:
    from .store import Store


def verify(store: Store | Place, progress: Progress = silent) -> dict[str, Any]:
    """Check every checksum of a store.

    Returns `complete` (every planned slab is committed and nothing is damaged), `shards` (how many were read) and
    `damaged`: one `{"slab", "hook", "chunk", "problem"}` a finding, with None where a key does not apply. Changes
    nothing; `Store.withdraw` takes damaged slabs away so that the next harvest writes them again.
    """
    from .store import Store

    store = store if isinstance(store, Store) else Store.open(store)
    objects, layout = store.objects, store.layout
    damaged = list(damage_beside_slabs(store))
    slabs = sorted(recorded_slabs(objects, layout))
    per_slab = sum(len(layout.arrays(hook)) for hook in layout.hooks)
    shards = len(slabs) * per_slab
    with progress.bar("Verifying", shards, "shards") as bar:
        for slab in slabs:
            damaged += _damaged_slab(objects, layout, slab)
            bar.advance(per_slab)
    return {"complete": len(slabs) == layout.n_slabs and not damaged, "shards": shards, "damaged": damaged}


def _finding(
    problem: str, *, slab: int | None = None, hook: str | None = None, chunk: int | None = None
) -> dict[str, Any]:
    return {"slab": slab, "hook": hook, "chunk": chunk, "problem": problem}


def damage_beside_slabs(store: Store) -> Iterator[dict[str, Any]]:
    """What is wrong with the texts, and with what arrays and groups say about themselves."""
    try:
        texts = {name: _StoredText(store, name) for name in TEXT_DTYPES}
        if store.fingerprint != fingerprint(config=store.config, hooks=store.hooks, dtype=store.dtype, **texts):
            yield _finding("tokens, doc, mask and configuration are not those that the fingerprint was taken of")
    except Damaged as error:
        yield _finding(str(error))
    # We read shards by arithmetic; every other Zarr reader needs these.
    for key, expected in _metadata(store.layout).items():
        _part, _, hook = key.removesuffix("/zarr.json").partition("/")
        try:
            wrong = "" if _essence(store.objects.get(key)) == expected else "is not that of this store"
            wrong = wrong or _refusal(store, key.removesuffix("/zarr.json"))
        except FileNotFoundError:
            wrong = "is missing"
        except ValueError:
            wrong = "is not JSON"
        if wrong:
            yield _finding(f"{key} {wrong}; run the same harvest again to mend it", hook=hook or None)


class _StoredText:
    """A text of a store, read a piece at a time."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self.shape = (store.sequences, store.context)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return read_text(self._store.objects, self._name, rows.start, min(rows.stop, self.shape[0]))


def _refusal(store: Store, node: str) -> str:
    """What is wrong with metadata that zarr-python does not take; empty where it does."""
    import zarr

    from .bfloat16 import register

    register()
    try:
        zarr.open(store.objects.zarr(), path=node, mode="r")
    except ActpipeError:
        raise
    except Exception as error:  # whatever its parsers raise
        return f"cannot be read ({error})"
    return ""


def _metadata(layout: StoreLayout) -> dict[str, dict[str, Any]]:
    """Key → what the metadata of every array and group below the root must say."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "store"
        write_arrays(folder, layout, {}, {})
        files = [file for file in folder.rglob("zarr.json") if file.parent != folder]
        return {file.relative_to(folder).as_posix(): _essence(file.read_bytes()) for file in files}


def _essence(content: bytes) -> dict[str, Any]:
    """What must agree; how codecs spell their defaults is left to the version of zarr-python."""
    node = json.loads(content)
    if not isinstance(node, dict):
        raise ValueError("not an object")
    kept = ("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value")
    return {key: node.get(key) for key in kept} | {"codecs": [each.get("name") for each in node.get("codecs", [])]}


def _damaged_slab(objects: Objects, layout: StoreLayout, slab: int) -> Iterator[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    content: list[NDArray[Any]] = []
    for hook, each in layout.hooks.items():
        for array in layout.arrays(hook):
            checksums, problems = _check_shard(objects, layout, hook, slab, array)
            content.append(checksums)
            found += problems
        summaries = {layout.statistics_key(hook, slab): ("its statistics", each.width)}
        if layout.has_health:
            summaries[health_key(hook, slab)] = ("its health record", record_width(layout.context))
        for key, (what, width) in summaries.items():
            try:
                read_checked(objects, key, "<f8", (2, width))
            except (Damaged, FileNotFoundError) as error:
                found.append(_finding(f"{what} cannot be read: {error}", slab=slab, hook=hook))
    try:
        record = read_commit(objects, layout, slab)
    except Damaged as error:
        found.append(_finding(str(error), slab=slab))
    else:
        # Only for shards that are sound in themselves: a whole shard of other content in this place.
        if record is not None and not found and record.content != crc32c(np.concatenate(content)):
            found.append(_finding("its shards are not those that were committed", slab=slab))
    yield from found


def _check_shard(
    objects: Objects, layout: StoreLayout, hook: str, slab: int, array: ShardedArray
) -> tuple[NDArray[Any], list[dict[str, Any]]]:
    """Stored checksums of the chunks, and what is wrong."""
    checksums = np.zeros(layout.chunks_present(hook, slab), "<u4")
    try:
        shard = open_shard(objects, layout, array, hook, slab)
        expected = layout.shard_bytes(array, hook, slab)
        if expected not in (None, shard.reader.size):
            raise BadShard(f"its shard file{array.of} has {shard.reader.size} bytes instead of {expected}")
    except BadShard as error:
        return checksums, [_finding(str(error), slab=slab, hook=hook)]
    found = []
    for chunk in range(len(checksums)):
        stored, checksums[chunk] = shard.stored(chunk)
        if crc32c(stored) != checksums[chunk]:
            found.append(
                _finding(f"the checksum{array.of} does not match the content", slab=slab, hook=hook, chunk=chunk)
            )
    try:
        offsets = read_index(shard.reader, layout.chunks_per_shard(hook), len(checksums))
        if any(int(offset) != shard.offset(chunk) for chunk, offset in enumerate(offsets)):
            raise BadShard("the index is not the one this shard must have")
    except BadShard as error:
        found.append(_finding(f"{error}{array.of}", slab=slab, hook=hook))
    return checksums, found
