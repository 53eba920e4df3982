"""One pass over the rows of a slab: moments, norms, largest values, and the check that everything is finite.

The pass shares the processor with the model's forward pass, so it is a matter of memory traffic: tiles that stay in the
cache, and as few passes over a tile as the sums allow (tests/bench/statistics.py). numpy does the sums, because its
order of additions does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .dtypes import convert, largest, words
from .encoding import rounded_rows
from .health_record import KEPT, SEARCHED_ROWS, HealthRecord, count_norms, first_kept
from .layout import StoreLayout

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# As float32 2 MiB. Smaller tiles are slower although they fit the second-level cache: reading the rows from memory is
# the largest single cost, and short reads do not reach its full speed.
TILE_VALUES = 2**19
ADDED_IN_A_ROW = 256  # float32 additions one after the other, before float64 takes over
# A BLAS may share longer dot products among threads, and the bits would depend on their number.
DOT_VALUES = 2**13
PIVOT_ROWS = 64
# Where mean² is above this many variances, float32 sums of squares around zero would lose digits of the variance.
FAR_FROM_ZERO = 4.0


@dataclass(frozen=True)
class SlabSummary:
    """What is stored of one hook's rows in one slab, besides them."""

    moments: Floats
    """[2, width]: mean and centred sum of squares of the rows whose mask is true"""
    health: HealthRecord


def slab_summary(
    layout: StoreLayout,
    hook: str,
    slab: int,
    rows: torch.Tensor,
    mask: Bools,
    doc: NDArray[Any] | None = None,
) -> SlabSummary:
    """Of the stored values of rows [n, width]; `mask` and `doc` are [n], doc −1 at padding.

    Refuses values that are not finite.
    """
    moments, squares = _Moments(_pivot(rows, mask)), np.empty(len(rows))
    for start, tile, values in _tiles(layout, hook, rows):
        part = slice(start, start + len(tile))
        squares[part] = _squared_norms(values)
        if not moments.fit(squares[part]):
            _refuse_non_finite(layout, hook, slab, start, rows[part], tile, doc)
            values = tile.to(torch.float64).numpy()
            squares[part] = _squared_norms(values)
        moments.add(values, mask[part])  # overwrites `values`
    other = ~mask if doc is None else ~mask & (doc >= 0)
    records = [_record(layout, hook, slab, rows, squares, inside) for inside in (mask, other)]
    health = HealthRecord(**{name: np.stack([each[name] for each in records]) for name in records[0]})
    return SlabSummary(moments.result(), health)


def _tiles(layout: StoreLayout, hook: str, rows: torch.Tensor) -> Iterator[tuple[int, torch.Tensor, NDArray[Any]]]:
    """First row, the stored rows, and their values as float32 in a buffer that the next tile reuses."""
    each = layout.hooks[hook]
    step = max(TILE_VALUES // each.width, 1)
    buffer = np.empty((min(step, len(rows)), each.width), np.float32)
    for start in range(0, len(rows), step):
        tile = rounded_rows(rows[start : start + step].to("cpu"), each)
        yield start, tile, _floats(tile, buffer[: len(tile)])


def _floats(tile: torch.Tensor, out: NDArray[np.float32]) -> NDArray[np.float32]:
    if tile.dtype != torch.bfloat16:
        return convert(tile, torch.from_numpy(out)).numpy()
    # bfloat16 is the upper half of float32: twice as fast as `convert`, whose pieces are small.
    bits = out.view(np.uint32)
    bits[...] = words(tile.contiguous())
    bits <<= 16
    return out


def _pivot(rows: torch.Tensor, mask: Bools) -> NDArray[np.float32]:
    """Near the mean in the channels whose mean is far from zero, 0 in the others; from rows spread over the slab."""
    inside = np.flatnonzero(mask)
    chosen = inside[np.linspace(0, len(inside) - 1, min(len(inside), PIVOT_ROWS)).astype(np.int64)]
    if not len(chosen):
        return np.zeros(rows.shape[1], np.float32)
    sample = rows[torch.from_numpy(chosen).to(rows.device)].to("cpu", torch.float32).numpy()
    with np.errstate(all="ignore"):
        mean, variance = sample.mean(axis=0), sample.var(axis=0)
        far = mean**2 > FAR_FROM_ZERO * variance
        return np.where(far & (np.abs(mean) < largest("float32")), mean, 0).astype(np.float32)


def _squared_norms(values: NDArray[Any]) -> Floats:
    """[rows]; infinite or NaN sums are for the caller to judge."""
    squares = np.zeros(len(values))
    with np.errstate(all="ignore"):
        for start in range(0, values.shape[1], DOT_VALUES):
            part = values[:, start : start + DOT_VALUES]
            squares += np.vecdot(part, part)
    return squares


def _column_sums(values: NDArray[Any]) -> Floats:
    """[width]. Several rows are added as one long row: fewer additions in a row, and longer loops."""
    width, folds = values.shape[1], max(len(values) // ADDED_IN_A_ROW, 1)
    whole = len(values) // folds * folds
    long_rows = np.add.reduce(values[:whole].reshape(-1, folds * width), axis=0)
    sums: Floats = np.sum(long_rows.reshape(folds, width), axis=0, dtype=np.float64)
    sums += np.sum(values[whole:], axis=0, dtype=np.float64)
    return sums


class _Moments:
    """Sums around a pivot: in the precision of the values within a tile, in float64 across tiles."""

    def __init__(self, pivot: NDArray[np.float32]) -> None:
        self.pivot = pivot
        self.moved = np.flatnonzero(pivot)
        self.pivot_square = float(np.sum(pivot.astype(np.float64) ** 2))
        self.count, self.sums, self.squares = 0, np.zeros(len(pivot)), np.zeros(len(pivot))

    def fit(self, squared_norms: Floats) -> bool:
        """Whether the sums over these rows stay in the range of float32; false for NaN."""
        bound = 2 * (float(squared_norms.sum()) + len(squared_norms) * self.pivot_square)
        return bound < largest("float32")

    def add(self, values: NDArray[Any], inside: Bools) -> None:
        """Overwrites `values`."""
        if len(self.moved) > len(self.pivot) // 8:
            np.subtract(values, self.pivot, out=values)
        elif len(self.moved):
            values[:, self.moved] -= self.pivot[self.moved]
        n = int(np.count_nonzero(inside))
        if n < len(inside):
            values[~inside] = 0
        self.count += n
        self.sums += _column_sums(values)
        np.multiply(values, values, out=values)
        self.squares += _column_sums(values)

    def result(self) -> Floats:
        if self.count == 0:
            return np.zeros((2, len(self.pivot)))
        centred = np.maximum(self.squares - self.sums**2 / self.count, 0)
        return np.stack([self.pivot + self.sums / self.count, centred])


def _record(
    layout: StoreLayout, hook: str, slab: int, rows: torch.Tensor, squares: Floats, inside: Bools
) -> dict[str, Any]:
    """The fields of HealthRecord, for one class of rows."""
    first_row = layout.slab_range(slab)[0] * layout.context
    numbers, norms = np.flatnonzero(inside), np.sqrt(squares[inside])
    longest = _highest(norms, SEARCHED_ROWS)
    return {
        "rows": np.float64(len(norms)),
        "norm_sum": norms.sum(),
        "square_sum": squares[inside].sum(),
        "histogram": count_norms(norms),
        "largest": _largest_values(layout, hook, rows, numbers[np.sort(longest)], first_row),
        "longest": first_kept(np.stack([first_row + numbers[longest], norms[longest]], axis=1)),
        "position_rows": inside.reshape(-1, layout.context).sum(axis=0, dtype=np.float64),
        "position_squares": np.where(inside, squares, 0).reshape(-1, layout.context).sum(axis=0),
    }


def _largest_values(
    layout: StoreLayout, hook: str, rows: torch.Tensor, searched: NDArray[np.int64], first_row: int
) -> Floats:
    if not len(searched):
        return first_kept(np.zeros((0, 3)))
    values = (
        rounded_rows(rows[torch.from_numpy(searched).to(rows.device)].to("cpu"), layout.hooks[hook]).float().numpy()
    )
    # Every one of the KEPT largest values is in one of the KEPT rows that reach highest.
    reaching = np.sort(_highest(np.abs(values).max(axis=1), KEPT))
    values, numbers = values[reaching], first_row + searched[reaching]
    row, channel = np.divmod(_highest(np.abs(values).reshape(-1), KEPT), values.shape[1])
    return first_kept(np.stack([numbers[row], channel, values[row, channel]], axis=1))


def _highest(values: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Indices of the `count` highest, the highest first, ties by index."""
    enough = np.arange(len(values))
    if len(values) > count:
        enough = np.flatnonzero(values >= np.partition(values, -count)[-count])
    return enough[np.argsort(-values[enough], kind="stable")[:count]]


def _refuse_non_finite(
    layout: StoreLayout,
    hook: str,
    slab: int,
    start: int,
    given: torch.Tensor,
    stored: torch.Tensor,
    doc: NDArray[Any] | None,
) -> None:
    bad = (~torch.isfinite(stored)).nonzero()
    if not len(bad):
        return
    row, column = (int(index) for index in bad[0])
    value = float(given[row, column])
    sequence, position = divmod(layout.slab_range(slab)[0] * layout.context + start + row, layout.context)
    document = "" if doc is None or doc[start + row] < 0 else f"document {doc[start + row]}, "
    place = f"hook {hook!r}, {document}slab {slab} (sequence {sequence}, position {position}, component {column})"
    if np.isfinite(value):
        raise Misuse(
            f"The activation {value:g} at {place} is beyond {largest(layout.dtype):g}, the largest {layout.dtype}; "
            "nothing of the slab was stored. Use --dtype bfloat16 or float32."
        )
    raise Misuse(
        f"The activation at {place} is {value}; nothing of the slab was stored. "
        "Run the model in float32, or leave the hook out."
    )
