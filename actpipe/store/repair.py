"""Puts back what a store needs beside its slabs: tokens, documents, mask, and what arrays say about themselves."""

from __future__ import annotations

import tempfile
from pathlib import Path

from actpipe.errors import Mismatch

from .metadata import Text, fingerprint, root_attribute, write_arrays
from .store import Store


def repair(store: Store, *, tokens: Text, doc: Text, mask: Text) -> list[str]:
    """Write again what is missing or differs; returns the keys. The texts must be those the store was made with."""
    texts = {"tokens": tokens, "doc": doc, "mask": mask}
    identity = fingerprint(config=store.config, hooks=store.hooks, dtype=store.dtype, **texts)
    if identity != store.fingerprint:
        raise Mismatch(
            f"The text of {store.place} is damaged, and the same dataset gives another text now, so it cannot be "
            "mended from there. Harvest anew with --overwrite."
        )
    written = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "store"
        write_arrays(folder, store.layout, root_attribute(store.layout, store.config, identity), texts)
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            key, content = file.relative_to(folder).as_posix(), file.read_bytes()
            if key != "zarr.json" and _stored(store, key) != content:
                store.objects.put(key, [content])
                written.append(key)
    return written


def _stored(store: Store, key: str) -> bytes | None:
    try:
        return store.objects.get(key)
    except FileNotFoundError:
        return None
