"""What a store says about itself: the root attribute, the fingerprint, and the Zarr metadata of its arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import ActpipeError, Damaged, Mismatch, Missing

from .checksums import read_checked
from .codecs import codec_names, get_codec
from .health_record import record_width
from .layout import HookLayout, StoreLayout
from .objects import Objects

FORMAT, VERSION = "actpipe-store", 2
READABLE = (1, 2)
PIECE = 4096  # sequences of a text in memory at once
TEXT_DTYPES = {"tokens": "int32", "doc": "int32", "mask": "bool"}
_REQUIRED = ("context", "sequences", "slab_sequences", "hooks", "config", "fingerprint")


class Text(Protocol):
    """An array [sequences, context] that is read in pieces, such as numpy's or one in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


def fingerprint(
    *, config: Mapping[str, Any], hooks: Mapping[str, int], dtype: str, tokens: Text, doc: Text, mask: Text
) -> str:
    """SHA-256 of what decides the content of a store; known before anything is computed."""
    sequences, context = tokens.shape
    identity = {
        "config": config,
        "context": context,
        "dtype": dtype,
        "hooks": dict(hooks),
        "sequences": sequences,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    for text, kind in ((tokens, "<i4"), (doc, "<i4"), (mask, "?")):
        for piece in pieces(text):
            digest.update(np.ascontiguousarray(piece, kind).data)
    return digest.hexdigest()


def pieces(text: Text, length: int = PIECE) -> Iterator[NDArray[Any]]:
    for start in range(0, text.shape[0], length):
        yield text[start : start + length]


def root_attribute(layout: StoreLayout, config: Mapping[str, Any], identity: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "context": layout.context,
        "sequences": layout.sequences,
        "slab_sequences": layout.slab_sequences,
        "hooks": {
            hook: {"width": each.width, "dtype": each.dtype, "chunk_rows": each.chunk_rows, "codec": each.codec}
            for hook, each in layout.hooks.items()
        },
        "config": dict(config),
        "fingerprint": identity,
    }


def read_root(objects: Objects) -> dict[str, Any]:
    """The root attribute of a store, after checking that this code can read it."""
    path = objects.place
    try:
        node = json.loads(objects.get("zarr.json"))
    except (FileNotFoundError, NotADirectoryError):
        raise Missing(f"There is no store at {path}; run `actpipe harvest` first, or name another place.") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise Damaged(f"{path}/zarr.json is not JSON; restore it, or harvest anew with --overwrite.") from None
    attribute = node.get("attributes", {}).get("actpipe", {}) if isinstance(node, dict) else {}
    if attribute.get("format") != FORMAT:
        raise Mismatch(f"{path} is a Zarr group but not a store of actpipe; name one that `actpipe harvest` wrote.")
    if attribute.get("version") not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise Mismatch(
            f"{path} has store format {attribute.get('version')} and this actpipe reads {known}; update actpipe."
        )
    if lacking := [key for key in _REQUIRED if key not in attribute]:
        raise Damaged(f"{path}/zarr.json lacks {lacking[0]!r}; restore it, or harvest anew with --overwrite.")
    for hook, each in attribute["hooks"].items():
        if (codec := each.get("codec", "none")) not in codec_names():
            raise Mismatch(f"The rows of {hook!r} in {path} have the codec {codec!r}, unknown here; update actpipe.")
    return dict(attribute)


def layout_of(attribute: Mapping[str, Any]) -> StoreLayout:
    """Without the channel scales of int8, which are not in the attribute."""
    return StoreLayout(
        context=attribute["context"],
        sequences=attribute["sequences"],
        slab_sequences=attribute["slab_sequences"],
        hooks={hook: HookLayout(**each) for hook, each in attribute["hooks"].items()},
        version=attribute["version"],
    )


def read_channel_scales(objects: Objects, layout: StoreLayout) -> StoreLayout:
    """The layout with the channel scales that lie beside int8 rows."""
    if layout.dtype != "int8":
        return layout
    return with_channel_scales(layout, {hook: _channel_scales(objects, hook, layout) for hook in layout.hooks})


def with_channel_scales(layout: StoreLayout, scales: Mapping[str, NDArray[np.float32]]) -> StoreLayout:
    hooks = {hook: replace(each, channel_scales=scales[hook]) for hook, each in layout.hooks.items()}
    return replace(layout, hooks=hooks)


def _channel_scales(objects: Objects, hook: str, layout: StoreLayout) -> NDArray[np.float32]:
    key = f"channels/{hook}/c/0"
    try:
        return read_checked(objects, key, "<f4", (layout.hooks[hook].width,))
    except FileNotFoundError:
        problem = f"{key} of {objects.place} is missing"
    except Damaged as error:
        problem = str(error).removesuffix(".")
    raise Damaged(f"{problem}, and int8 rows cannot be read without it; restore it, or harvest anew with --overwrite.")


def write_arrays(path: Path, layout: StoreLayout, attribute: Mapping[str, Any], texts: Mapping[str, Text]) -> None:
    """Create the group at `path` (an empty folder) with all its arrays; `texts` are tokens, doc and mask, if any."""
    import zarr
    from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

    group = zarr.create_group(path, attributes={"actpipe": dict(attribute)}, zarr_format=3)
    packed: dict[str, Any] = {"serializer": BytesCodec(), "compressors": [ZstdCodec(level=3), Crc32cCodec()]}
    plain: dict[str, Any] = {"serializer": BytesCodec(), "compressors": [Crc32cCodec()], "filters": []}
    shape = (layout.sequences, layout.context)
    chunks = (min(layout.slab_sequences, layout.sequences), layout.context)
    for name, kind in TEXT_DTYPES.items():
        array = group.create_array(name, shape=shape, chunks=chunks, dtype=kind, filters=[], **packed)
        array = array.with_config({"write_empty_chunks": True})  # one of nothing but zeros too
        for start in range(0, layout.sequences if name in texts else 0, chunks[0]):
            array[start : start + chunks[0]] = texts[name][start : start + chunks[0]]
    acts, statistics = group.create_group("acts"), group.create_group("statistics")
    for hook, each in layout.hooks.items():
        _create_acts(acts, layout, hook)
        if each.channel_scales is not None:
            scales = group.require_group("scales")
            shape, chunks = (layout.rows, 1), (each.chunk_rows, 1)
            shards = (layout.slab_rows, 1)
            scales.create_array(hook, shape=shape, shards=shards, chunks=chunks, dtype="float32", fill_value=0, **plain)
            channels = group.require_group("channels")
            channel = channels.create_array(hook, shape=(each.width,), chunks=(each.width,), dtype="float32", **plain)
            channel[...] = each.channel_scales
        moments = (layout.n_slabs, 2, each.width)
        statistics.create_array(hook, shape=moments, chunks=(1, 2, each.width), dtype="float64", fill_value=0, **plain)
        if layout.has_health:
            health, records = group.require_group("health"), (layout.n_slabs, 2, record_width(layout.context))
            health.create_array(hook, shape=records, chunks=(1, *records[1:]), dtype="float64", fill_value=0, **plain)
    group.create_array("commit", shape=(layout.n_slabs, 4), chunks=(1, 4), dtype="uint64", fill_value=0, **plain)


def _create_acts(acts: Any, layout: StoreLayout, hook: str) -> None:
    from zarr.codecs import BytesCodec, Crc32cCodec
    from zarr.dtype import Float16, Float32, Int8

    from .bfloat16 import BFloat16, register

    register()
    (array, *_), dtype = layout.arrays(hook), layout.hooks[hook].dtype
    kinds: dict[str, Any] = {"bfloat16": BFloat16(), "float16": Float16(), "float32": Float32(), "int8": Int8()}
    codecs = get_codec(array.codec).zarr(itemsize=array.itemsize, chunk_bytes=array.chunk_bytes)
    acts.create_array(
        hook,
        shape=(layout.rows, array.width),
        shards=(layout.slab_rows, array.width),
        chunks=(array.chunk_rows, array.width),
        dtype=kinds[dtype],
        serializer=BytesCodec(),
        compressors=[*codecs, Crc32cCodec()],
        filters=[],
        fill_value=0,
    )


def read_text(objects: Objects, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Sequences start … stop − 1 of `tokens`, `doc` or `mask`."""
    import zarr

    try:
        array: Any = zarr.open_array(objects.zarr(), path=name, mode="r")
        _require_chunks(objects, name, array, start, array.shape[0] if stop is None else min(stop, array.shape[0]))
        values: NDArray[Any] = np.asarray(array[start:stop])
    except ActpipeError:  # such as an object store that cannot be reached
        raise
    except Exception as error:  # zarr raises whatever its codecs raise
        raise Damaged(
            f"The array {name!r} of {objects.place} cannot be read ({error}); run the same harvest again to mend it."
        ) from error
    return values


def _require_chunks(objects: Objects, name: str, array: Any, start: int, stop: int) -> None:
    """Zarr takes a missing chunk for zeros; we write every chunk, so a missing one is lost."""
    length = array.chunks[0]
    for chunk in range(start // length, -(-stop // length)):
        if objects.size(f"{name}/c/{chunk}/0") is None:
            raise FileNotFoundError(f"its chunk {chunk} is missing")


def differences(stored: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two configurations, one short phrase a leaf."""
    found: list[str] = []
    for key in [*stored, *(key for key in asked if key not in stored)]:
        one, other = stored.get(key), asked.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append(f"{prefix}{key} is {one!r} there and {other!r} here")
    return found
