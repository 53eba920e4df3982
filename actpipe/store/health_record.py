"""What a slab remembers of its rows' lengths and largest values: the array `health/<hook>` (store-format.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COUNTED, OTHER = 0, 1
"""The two classes of rows: mask true; mask false but a token (padding is in neither)."""
BINS, BINS_PER_OCTAVE, FIRST_OCTAVE = 256, 4, -24
KEPT = 16
SEARCHED_ROWS = 64
"""Longest rows of a class in a slab, whose largest values are kept: a massive value makes its row long."""
_NOTHING = (-1.0, -1.0, 0.0)


@dataclass(frozen=True)
class HealthRecord:
    """Of one hook, in one slab or merged over several. The first axis is the class of rows."""

    rows: Floats
    """[2]"""
    norm_sum: Floats
    """[2], Σ‖x‖"""
    square_sum: Floats
    """[2], Σ‖x‖²"""
    histogram: Floats
    """[2, BINS], rows by ‖x‖; the edges are those of `bin_edges`"""
    largest: Floats
    """[2, KEPT, 3], row, channel, value: the values of largest magnitude, the largest first; −1, −1, 0 where fewer"""
    longest: Floats
    """[2, KEPT, 2], row, ‖x‖: the longest rows, the longest first; −1, 0 where fewer"""
    position_rows: Floats
    """[2, context]"""
    position_squares: Floats
    """[2, context], Σ‖x‖² of the rows at a position"""

    def pack(self) -> Floats:
        """[2, record_width(context)]"""
        return np.concatenate([part.reshape(2, -1) for part in vars(self).values()], axis=1)

    @classmethod
    def unpack(cls, values: NDArray[Any]) -> HealthRecord:
        context = (values.shape[1] - record_width(0)) // 2
        shapes = [(), (), (), (BINS,), (KEPT, 3), (KEPT, 2), (context,), (context,)]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        parts = np.split(np.asarray(values, np.float64), ends[:-1], axis=1)
        return cls(*(part.reshape(2, *shape) for part, shape in zip(parts, shapes, strict=True)))


def record_width(context: int) -> int:
    """Numbers that a class of rows takes."""
    return 3 + BINS + 3 * KEPT + 2 * KEPT + 2 * context


def health_key(hook: str, slab: int) -> str:
    return f"health/{hook}/c/{slab}/0/0"


def bin_edges() -> Floats:
    """[BINS + 1], of the norm histogram; the first bin also holds all that is shorter, the last all that is longer."""
    return 2.0 ** (FIRST_OCTAVE + np.arange(BINS + 1) / BINS_PER_OCTAVE)


def count_norms(norms: Floats) -> Floats:
    """The histogram [BINS] of norms [n]."""
    with np.errstate(divide="ignore"):
        bins = np.floor(BINS_PER_OCTAVE * (np.log2(norms) - FIRST_OCTAVE))
    return np.bincount(np.clip(bins, 0, BINS - 1).astype(np.int64), minlength=BINS).astype(np.float64)


def first_kept(entries: NDArray[Any]) -> Floats:
    """The KEPT entries [n, row … value] of largest magnitude, ties by their row and channel, filled up with nothing."""
    columns = entries.shape[1]
    entries = entries[entries[:, 0] >= 0]
    order = np.lexsort((*entries[:, :-1].T[::-1], -np.abs(entries[:, -1])))[:KEPT]
    kept = np.tile(np.array(_NOTHING[-columns:]), (KEPT, 1))
    kept[: len(order)] = entries[order]
    return kept


def merge_records(parts: Iterable[HealthRecord]) -> HealthRecord | None:
    """Of disjoint sets of rows, in any order; None for none."""
    merged: HealthRecord | None = None
    for part in parts:
        merged = part if merged is None else _merged(merged, part)
    return merged


def _merged(a: HealthRecord, b: HealthRecord) -> HealthRecord:
    joined = {name: getattr(a, name) + getattr(b, name) for name in vars(a) if name not in ("largest", "longest")}
    for name in ("largest", "longest"):
        both = np.concatenate([getattr(a, name), getattr(b, name)], axis=1)
        joined[name] = np.stack([first_kept(entries) for entries in both])
    return HealthRecord(**joined)
