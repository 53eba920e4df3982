"""The commit records: a slab exists for readers from the moment its record is on the disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from actpipe.errors import Damaged

from .checksums import read_checked, write_checked
from .layout import StoreLayout


class Commit(NamedTuple):
    """One record, in the order of its columns."""

    rows: int
    written_ns: int
    worker: int
    content: int
    """CRC-32C of the checksums of all inner chunks of the slab."""


def write_commit(path: Path, layout: StoreLayout, slab: int, *, worker: int, content: int) -> None:
    record = Commit(layout.rows_of_slab(slab), time.time_ns(), worker, content)
    write_checked(path / layout.commit_path(slab), np.array(record, "<u8"))


def read_commit(path: Path, layout: StoreLayout, slab: int) -> Commit | None:
    """The record of a slab; None where there is none. A damaged record raises Damaged."""
    try:
        values = read_checked(path / layout.commit_path(slab), "<u8", (4,))
    except FileNotFoundError:
        return None
    return Commit(*(int(value) for value in values))


def committed_slabs(path: Path, layout: StoreLayout, known: frozenset[int] = frozenset()) -> frozenset[int]:
    """Slabs with a sound record; `known` ones are not read again. A damaged record counts as none."""
    try:
        names = [entry.name for entry in (path / "commit" / "c").iterdir()]
    except FileNotFoundError:
        return frozenset()
    slabs = {int(name) for name in names if name.isdecimal() and int(name) < layout.n_slabs}
    return frozenset(slab for slab in slabs if _is_there(path, layout, slab, known))


def _is_there(path: Path, layout: StoreLayout, slab: int, known: frozenset[int]) -> bool:
    if slab in known:  # the folder of a withdrawn record stays behind
        return (path / layout.commit_path(slab)).exists()
    return _is_sound(path, layout, slab)


def _is_sound(path: Path, layout: StoreLayout, slab: int) -> bool:
    try:
        record = read_commit(path, layout, slab)
    except Damaged:
        return False
    return record is not None and record.rows == layout.rows_of_slab(slab)


def withdraw_commit(path: Path, layout: StoreLayout, slab: int) -> None:
    """Take a slab away from readers; the next harvest writes it again."""
    (path / layout.commit_path(slab)).unlink(missing_ok=True)
