"""Reads a whole store and names what is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Damaged
from actpipe.places import Place
from actpipe.progress import Progress, silent

from .checksums import crc32c, read_checked
from .commit import read_commit, recorded_slabs
from .health_record import health_key, record_width
from .layout import ShardedArray, StoreLayout
from .metadata import TEXT_DTYPES, read_text
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
    for name in TEXT_DTYPES:
        try:
            for slab in range(store.n_slabs):
                read_text(store.objects, name, *store.slab_range(slab))
        except Damaged as error:
            yield _finding(str(error))
    # We read shards by arithmetic; every other Zarr reader needs these.
    for hook, nodes in _nodes(store.layout).items():
        for node in nodes:
            key = f"{node}/zarr.json"
            try:
                json.loads(store.objects.get(key))
            except FileNotFoundError:
                yield _finding(f"{key} is missing; run the same harvest again to mend it", hook=hook)
            except ValueError:
                yield _finding(f"{key} is not JSON; run the same harvest again to mend it", hook=hook)


def _nodes(layout: StoreLayout) -> dict[str | None, list[str]]:
    """Hook → its arrays; None → what belongs to no hook."""
    nodes: dict[str | None, list[str]] = {None: []}
    for hook in layout.hooks:
        own = [array.path for array in layout.arrays(hook)]
        scales = [f"channels/{hook}"] if layout.dtype == "int8" else []
        nodes[hook] = [*own, *scales, f"statistics/{hook}", *([f"health/{hook}"] if layout.has_health else [])]
    nodes[None] = sorted({path.split("/")[0] for paths in nodes.values() for path in paths} | {"commit"})
    return nodes


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
