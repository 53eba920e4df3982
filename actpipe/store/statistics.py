"""Means and variances of a hook's rows: per slab while it is written, merged over the committed slabs when asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .dtypes import convert, largest
from .layout import StoreLayout
from .shards import stored_chunks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Of the stored values of the rows whose mask is true, in committed slabs."""

    count: int
    mean: Floats
    """[width]"""
    variance: Floats
    """[width], of the population (divided by the count)"""

    @property
    def mean_square(self) -> float:
        """E‖x‖², the mean squared length of a row."""
        return float(np.sum(self.variance + self.mean**2))


def merge(parts: Iterable[tuple[int, NDArray[Any]]], width: int) -> Statistics:
    """Join (count, [mean, centred sum of squares]) of disjoint sets of rows by Chan's formula."""
    count, mean, squares = 0, np.zeros(width), np.zeros(width)
    for n, (part_mean, part_squares) in parts:
        if n == 0:
            continue
        total = count + n
        delta = part_mean - mean
        squares = squares + part_squares + delta**2 * (count * n / total)
        mean = mean + delta * (n / total)
        count = total
    return Statistics(count, mean, squares / max(count, 1))


def slab_statistics(layout: StoreLayout, hook: str, slab: int, rows: torch.Tensor, mask: NDArray[np.bool_]) -> Floats:
    """Mean and centred sum of squares [2, width] of the masked rows; refuses values that are not finite.

    float32 inside a chunk around a pivot near the mean, float64 across chunks. numpy's sums over the first axis go row
    by row, so the result has the same bits whatever the number of threads.
    """
    width = layout.hooks[hook].width
    buffer = torch.empty(layout.hooks[hook].chunk_rows, width)
    pivot: NDArray[np.float32] | None = None
    sums, squares, start = np.zeros(width), np.zeros(width), 0
    for chunk in stored_chunks(layout, hook, rows):
        inside = mask[start : start + len(chunk)]
        values = convert(chunk, buffer[: len(chunk)]).numpy()
        outside_sum = float(np.sum(values[~inside], dtype=np.float64)) if not inside.all() else 0.0
        if pivot is None and inside.any():
            pivot = _mean(values[inside])
        chunk_sums, chunk_squares = _centred_sums(values, pivot, inside)
        if not (np.isfinite(chunk_sums.sum()) and np.isfinite(chunk_squares.sum()) and np.isfinite(outside_sum)):
            _refuse_non_finite(layout, hook, slab, start, rows[start : start + len(chunk)], chunk)
            chunk_sums, chunk_squares = _wide_sums(chunk, pivot, inside)
        sums += chunk_sums
        squares += chunk_squares
        start += len(chunk)
    n = int(mask.sum())
    if n == 0 or pivot is None:
        return np.zeros((2, width))
    return np.stack([pivot + sums / n, np.maximum(squares - sums**2 / n, 0)])


def _mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        mean = values.mean(axis=0)
    return np.where(np.isfinite(mean), mean, np.float32(0))


def _centred_sums(values: NDArray[np.float32], pivot: Any, inside: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Overwrites `values`. Infinite or NaN sums are for the caller to judge."""
    with np.errstate(all="ignore"):
        if pivot is not None:
            np.subtract(values, pivot, out=values)
        if not inside.all():
            values[~inside] = 0
        sums = np.add.reduce(values, axis=0)
        np.multiply(values, values, out=values)
        return sums.astype(np.float64), np.add.reduce(values, axis=0).astype(np.float64)


def _wide_sums(chunk: torch.Tensor, pivot: Any, inside: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The same in float64, for finite values whose squares leave the range of float32."""
    values = chunk.to(torch.float64).numpy()[inside]
    if len(values):
        values = values - pivot
    return values.sum(axis=0), (values**2).sum(axis=0)


def _refuse_non_finite(
    layout: StoreLayout, hook: str, slab: int, start: int, given: torch.Tensor, stored: torch.Tensor
) -> None:
    bad = (~torch.isfinite(stored)).nonzero()
    if not len(bad):
        return
    row, column = (int(index) for index in bad[0])
    value = float(given[row, column])
    sequence, position = divmod(layout.slab_range(slab)[0] * layout.context + start + row, layout.context)
    place = f"hook {hook!r}, slab {slab} (sequence {sequence}, position {position}, component {column})"
    if np.isfinite(value):
        raise Misuse(
            f"The activation {value:g} at {place} is beyond {largest(layout.dtype):g}, the largest {layout.dtype}; "
            "nothing of the slab was stored. Use --dtype bfloat16 or float32."
        )
    raise Misuse(
        f"The activation at {place} is {value}; nothing of the slab was stored. "
        "Run the model in float32, or leave the hook out."
    )
