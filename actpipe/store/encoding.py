"""Rows in their stored form in memory, and back: what lies between a store's files and the numbers of the model.

The stored form of n rows is one tensor with a row each, so that whoever moves rows about need not know what is in them:
[n, width] of a float type, or for int8 [n, width + 4], where the last four bytes of a row are its scale, float32.

    int8:   value ≈ q · row_scale · channel_scale,   row_scale = max |value / channel_scale| / 127,   q = round(…)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .dtypes import TORCH, convert, dtype_name, words
from .layout import ROW_SCALE_BYTES, HookLayout

Floats = NDArray[np.float32]

LARGEST_Q = 127
TILE_VALUES = 2**16  # as float32 256 KiB, which stays in the cache from one step to the next
# Least error of ordinary rows on SmolLM2 (docs/decisions/0006): 1 would follow the channels fully, 0 not at all.
SCALE_POWER = 2 / 3
# Channels that hardly moved in the sample: smaller scales would let one surprise there spoil its whole row.
SMALLEST_SCALE = 2**-10  # of the median


def empty_rows(rows: int, each: HookLayout) -> torch.Tensor:
    """[rows, …] in the stored form, not filled in."""
    width = each.width + ROW_SCALE_BYTES if each.dtype == "int8" else each.width
    return torch.empty((rows, width), dtype=TORCH[each.dtype])


def encode_rows(rows: torch.Tensor, each: HookLayout) -> torch.Tensor:
    """The stored form of rows [n, width] of any float type; an int8 row with a NaN or an infinity has the scale NaN."""
    if each.dtype != "int8":
        return rows if rows.dtype == TORCH[each.dtype] else convert(rows, empty_rows(len(rows), each))
    return _quantise(rows, _channel_scales(each), empty_rows(len(rows), each))


def decode_rows(rows: torch.Tensor, each: HookLayout, out: torch.Tensor) -> torch.Tensor:
    """Write what stored rows mean, in the units of the model, into `out` [rows, width], of any float type."""
    if each.dtype != "int8":
        return convert(rows, out)
    return _dequantise(rows, _channel_scales(each), out)


def rounded_rows(rows: torch.Tensor, each: HookLayout) -> torch.Tensor:
    """What a reader will find of rows [n, width]: in the stored data type, or float32 where that is int8.

    NaN and infinity stay what they are, for whoever refuses them.
    """
    stored = encode_rows(rows, each)
    if each.dtype != "int8":
        return stored
    values = decode_rows(stored, each, torch.empty(rows.shape))
    bad = values[:, 0].isnan().nonzero()[:, 0]
    values[bad] = rows[bad].float()
    return values


def columns(stored: torch.Tensor, each: HookLayout) -> list[NDArray[Any]]:
    """The part [n, …] of each of a hook's arrays, contiguous: the memory of the rows itself, or for int8 copies."""
    whole = words(stored)
    if each.dtype != "int8":
        return [whole]
    return [np.ascontiguousarray(whole[:, : each.width]), np.ascontiguousarray(whole[:, each.width :])]


def join_columns(parts: list[NDArray[Any]], stored: torch.Tensor, each: HookLayout) -> None:
    """Put what was read into `columns` back into the rows."""
    if each.dtype == "int8":
        whole = words(stored)
        whole[:, : each.width], whole[:, each.width :] = parts


def channel_scales(sample: torch.Tensor) -> Floats:
    """Scales [width] for int8 from some rows [n, width]: E|x| of each channel, softened.

    Not the standard deviation: a few massive activations in the sample multiply that, and ordinary rows get a channel
    with steps as large as its values (FVU 3e-3 instead of 8e-5 at layer 14 of SmolLM2).
    """
    return sound_scales(sample.to("cpu", torch.float64).abs().mean(0).numpy() ** SCALE_POWER)


def sound_scales(scales: Any) -> Floats:
    """With none below 1, so that no value overflows when it is divided; only the proportions matter."""
    given = np.asarray(scales, np.float64)
    if given.ndim != 1 or not np.isfinite(given).all() or (given < 0).any():
        raise Misuse("Channel scales must be one finite number a channel, none of them negative.")
    if not given.any():
        return np.ones(len(given), np.float32)
    raised = np.maximum(given, SMALLEST_SCALE * np.median(given[given > 0]))
    sound: Floats = np.minimum(raised / raised.min(), np.finfo(np.float32).max).astype(np.float32)
    return sound


def error_of(rows: torch.Tensor, dtype: str, scales: Floats | None = None) -> float:
    """What rounding rows [n, width] to a data type loses: the fraction of variance unexplained, Σ(x−x̂)² / Σ(x−x̄)².

    `scales` are the channel scales of int8; by default those that these rows ask for. Massive rows carry most of the
    variance where there are any: leave them out to know the error of the others.
    """
    if not len(rows):
        return 0.0
    exact = rows.detach().to("cpu", torch.float32).contiguous()
    each = HookLayout(
        width=exact.shape[1],
        dtype=dtype_name(dtype),
        chunk_rows=1,
        channel_scales=channel_scales(exact) if scales is None and dtype == "int8" else scales,
    )
    wide = exact.double()
    variance = float((wide - wide.mean(0)).square().sum())
    error = float((wide - rounded_rows(exact, each).double()).square().sum())
    return error / variance if variance else error


def _channel_scales(each: HookLayout) -> Floats:
    assert each.channel_scales is not None, "int8 rows were used before their store was created"
    return each.channel_scales


def _quantise(rows: torch.Tensor, scales: Floats, out: torch.Tensor) -> torch.Tensor:
    width = len(scales)
    values = out.numpy()
    step = max(TILE_VALUES // width, 1)
    buffer = torch.empty((min(step, len(rows)), width))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        tile = convert(part, buffer[: len(part)]).numpy()
        tile /= scales
        row_scale = np.maximum(tile.max(axis=1), -tile.min(axis=1)) / np.float32(LARGEST_Q)
        # Below this the inverse leaves float32's range; such a row counts as zero.
        row_scale[row_scale < np.finfo(np.float32).tiny] = 0
        if not np.isfinite(row_scale).all():
            bad = ~np.isfinite(row_scale)
            row_scale[bad], tile[bad] = np.nan, 0
        inverse = np.divide(1, row_scale, out=np.zeros_like(row_scale), where=row_scale > 0)
        tile *= inverse[:, None]
        np.rint(tile, out=tile)
        np.clip(tile, -LARGEST_Q, LARGEST_Q, out=tile)
        values[start : start + len(part), :width] = tile
        values[start : start + len(part), width:] = row_scale.view(np.int8).reshape(-1, ROW_SCALE_BYTES)
    return out


def _dequantise(stored: torch.Tensor, scales: Floats, out: torch.Tensor) -> torch.Tensor:
    width = len(scales)
    step = max(TILE_VALUES // width, 1)
    whole = stored.numpy()
    buffer = None if out.dtype == torch.float32 else torch.empty((min(step, len(out)), width))
    for start in range(0, len(whole), step):
        part, target = whole[start : start + step], out[start : start + step]
        tile = (target if buffer is None else buffer[: len(part)]).numpy()
        np.multiply(part[:, :width], np.ascontiguousarray(part[:, width:]).view(np.float32), out=tile)
        tile *= scales
        if buffer is not None:
            target.copy_(buffer[: len(part)])
    return out
