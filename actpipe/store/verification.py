"""Reads a whole store and names what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Damaged
from actpipe.places import Place
from actpipe.progress import Progress, silent

from .checksums import crc32c, read_checked
from .commit import read_commit, recorded_slabs
from .layout import StoreLayout
from .metadata import TEXT_DTYPES, read_text
from .objects import Objects
from .shards import shard_index

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
    damaged = [*_damaged_texts(objects), *_missing_metadata(objects, layout)]
    slabs = sorted(
        slab for slab in recorded_slabs(objects, layout) if objects.size(layout.commit_key(slab)) is not None
    )
    shards = len(slabs) * len(layout.hooks)
    with progress.bar("Verifying", shards, "shards") as bar:
        for slab in slabs:
            damaged += _damaged_slab(objects, layout, slab)
            bar.advance(len(layout.hooks))
    return {"complete": len(slabs) == layout.n_slabs and not damaged, "shards": shards, "damaged": damaged}


def _finding(
    problem: str, *, slab: int | None = None, hook: str | None = None, chunk: int | None = None
) -> dict[str, Any]:
    return {"slab": slab, "hook": hook, "chunk": chunk, "problem": problem}


def _damaged_texts(objects: Objects) -> Iterator[dict[str, Any]]:
    for name in TEXT_DTYPES:
        try:
            read_text(objects, name)
        except Damaged as error:
            yield _finding(str(error))


def _missing_metadata(objects: Objects, layout: StoreLayout) -> Iterator[dict[str, Any]]:
    """We read shards by arithmetic; every other Zarr reader needs what an array says about itself."""
    for hook in layout.hooks:
        for array in (f"acts/{hook}", f"statistics/{hook}"):
            if objects.size(f"{array}/zarr.json") is None:
                yield _finding(f"{array}/zarr.json is missing; restore it, or harvest anew with --overwrite", hook=hook)
    if objects.size("commit/zarr.json") is None:
        yield _finding("commit/zarr.json is missing; restore it, or harvest anew with --overwrite")


def _damaged_slab(objects: Objects, layout: StoreLayout, slab: int) -> Iterator[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    content: list[NDArray[Any]] = []
    for hook, each in layout.hooks.items():
        checksums, problems = _check_shard(objects, layout, hook, slab)
        content.append(checksums)
        found += problems
        try:
            read_checked(objects, layout.statistics_key(hook, slab), "<f8", (2, each.width))
        except (Damaged, FileNotFoundError) as error:
            found.append(_finding(f"its statistics cannot be read: {error}", slab=slab, hook=hook))
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
    objects: Objects, layout: StoreLayout, hook: str, slab: int
) -> tuple[NDArray[Any], list[dict[str, Any]]]:
    """Stored checksums of the chunks, and what is wrong."""
    each, present = layout.hooks[hook], layout.chunks_present(hook, slab)
    checksums = np.zeros(present, "<u4")
    try:
        reader = objects.reader(layout.shard_key(hook, slab))
    except FileNotFoundError:
        return checksums, [_finding("its shard file is missing", slab=slab, hook=hook)]
    expected = layout.shard_bytes(hook, slab)
    if reader.size != expected:
        problem = f"its shard file has {reader.size} bytes instead of {expected}"
        return checksums, [_finding(problem, slab=slab, hook=hook)]
    found = []
    values = np.empty(each.chunk_bytes, np.uint8)
    for chunk in range(present):
        reader.read(layout.chunk_offset(hook, chunk), [values, checksums[chunk : chunk + 1]])
        if crc32c(values) != checksums[chunk]:
            found.append(_finding("the checksum does not match the content", slab=slab, hook=hook, chunk=chunk))
    index = shard_index(layout, hook, slab)
    stored = bytearray(len(index))
    reader.read(layout.chunk_offset(hook, present), [stored])
    if stored != index:
        found.append(_finding("the index is not the one this shard must have", slab=slab, hook=hook))
    return checksums, found
