"""Active codes on disk, one file a subject and part of the rows: encoding is what costs, so it is done once.

Only those of the score split: what was fitted in the first pass is measured on no other text. A file is an .npz of
plain arrays, read without pickle: firings a row (`lengths` [rows]), and for each firing, ordered by row, its `unit`
(two bytes below 65,536 units) and `value`: six bytes a firing and four a row.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .firings import Firings
from .rows import Rows
from .splits import SCORE


def write_codes(path: Path, batch: Firings) -> None:
    batch = batch.of(SCORE)
    kind = np.uint16 if batch.n_units <= 1 << 16 else np.uint32
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with open(temporary, "wb") as file:
        np.savez(file, lengths=np.diff(batch.starts).astype(np.uint32), unit=batch.unit.astype(kind), value=batch.value)
    os.rename(temporary, path)


def read_codes(path: Path, rows: Rows, n_units: int) -> Firings:
    """`rows`: the block that the file is of, as a whole."""
    with np.load(path, allow_pickle=False) as saved:
        lengths, unit, value = saved["lengths"], saved["unit"].astype(np.int32), saved["value"]
    row = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return Firings(rows=rows, n_units=n_units, unit=unit, row=row, value=value)
