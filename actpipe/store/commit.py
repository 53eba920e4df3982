"""The commit records: a slab exists for readers from the moment its record is on the disk."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from actpipe.errors import Damaged

from .checksums import read_checked, write_checked
from .layout import StoreLayout
from .objects import Objects

RECORDS_AT_ONCE = 16  # in an object store each is a request


class Commit(NamedTuple):
    """One record, in the order of its columns."""

    rows: int
    written_ns: int
    worker: int
    content: int
    """CRC-32C of the checksums of all inner chunks of the slab."""


def write_commit(objects: Objects, layout: StoreLayout, slab: int, *, worker: int, content: int) -> None:
    record = Commit(layout.rows_of_slab(slab), time.time_ns(), worker, content)
    write_checked(objects, layout.commit_key(slab), np.array(record, "<u8"))


def read_commit(objects: Objects, layout: StoreLayout, slab: int) -> Commit | None:
    """The record of a slab; None where there is none. A damaged record raises Damaged."""
    try:
        values = read_checked(objects, layout.commit_key(slab), "<u8", (4,))
    except FileNotFoundError:
        return None
    return Commit(*(int(value) for value in values))


def committed_slabs(objects: Objects, layout: StoreLayout, known: frozenset[int] = frozenset()) -> frozenset[int]:
    """Slabs with a sound record; `known` ones are not read again. A damaged record counts as none."""
    recorded = recorded_slabs(objects, layout)
    new = sorted(recorded - known)
    with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
        sound = pool.map(partial(_is_sound, objects, layout), new)
        return recorded & known | {slab for slab, good in zip(new, sound, strict=True) if good}


def recorded_slabs(objects: Objects, layout: StoreLayout) -> frozenset[int]:
    """Slabs that have a record, sound or not."""
    there = objects.sizes("commit/c")  # one request for a thousand
    return frozenset(slab for slab in range(layout.n_slabs) if layout.commit_key(slab) in there)


def withdraw_commit(objects: Objects, layout: StoreLayout, slab: int) -> None:
    """Take a slab away from readers; the next harvest writes it again."""
    objects.delete(layout.commit_key(slab))


def _is_sound(objects: Objects, layout: StoreLayout, slab: int) -> bool:
    try:
        record = read_commit(objects, layout, slab)
    except Damaged:
        return False
    return record is not None and record.rows == layout.rows_of_slab(slab)
