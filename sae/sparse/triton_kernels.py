# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls
"""The kernels, in Triton's own language: Python in looks, compiled for the GPU that it is started on.

triton_entries.py starts those that read pre-activations, triton_gather.py those that gather rows, and they say what the
arguments are. Tensors arrive as addresses and are contiguous. Rows, columns and entries are counted in int64, because
members times rows times features pass 2³¹.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Whether w · x + y is rounded once is not left to the version of Triton, so that versions give the same bits.
LAUNCH = {"enable_fp_fusion": True}


@triton.jit
def _pre_activations(product, bias, only, row, n_rows, n, columns, ONLY: tl.constexpr):
    # Beyond the last column −∞, which no gate lets through.
    real = columns < n
    of_member = row // n_rows * n + columns
    u = tl.load(product + row * n + columns, mask=real, other=float("-inf")).to(tl.float32)
    u += tl.load(bias + of_member, mask=real, other=0.0)
    if ONLY:
        u = tl.where(tl.load(only + of_member, mask=real, other=0) != 0, u, float("-inf"))
    return u


@triton.jit
def _key(u):
    # NaN counts as the largest: a member that diverges is to be seen to.
    positive = tl.where(u > 0, u.to(tl.int32, bitcast=True), 0)
    return tl.where(u != u, 0x7FFFFFFF, positive)


@triton.jit
def _is_kept(u, threshold, bandwidth, limit, row, n_rows, n, columns, JUMP: tl.constexpr):
    if JUMP:
        member = row // n_rows
        at = tl.load(threshold + member * n + columns, mask=columns < n, other=float("inf"))
        half = tl.load(bandwidth + member) / 2
        return (u > at) | (tl.abs(u - at) < half) | (u != u)
    key = _key(u)
    return (key > 0) & (key >= limit)


@triton.jit
def count(
    counts,
    product,
    bias,
    only,
    threshold,
    bandwidth,
    limits,
    n_rows,
    n,
    ONLY: tl.constexpr,
    JUMP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row: how many entries it has."""
    row = tl.program_id(0).to(tl.int64)
    limit = tl.load(limits + row)
    found = tl.zeros([BLOCK], tl.int32)
    for first in range(0, n, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        u = _pre_activations(product, bias, only, row, n_rows, n, columns, ONLY)
        found += _is_kept(u, threshold, bandwidth, limit, row, n_rows, n, columns, JUMP).to(tl.int32)
    tl.store(counts + row, tl.sum(found, 0).to(tl.int64))


@triton.jit
def fill(
    starts,
    columns_out,
    values_out,
    product,
    bias,
    only,
    threshold,
    bandwidth,
    limits,
    n_rows,
    n,
    ONLY: tl.constexpr,
    JUMP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row: its entries from the left to the right."""
    row = tl.program_id(0).to(tl.int64)
    limit = tl.load(limits + row)
    at = tl.load(starts + row)
    for first in range(0, n, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        u = _pre_activations(product, bias, only, row, n_rows, n, columns, ONLY)
        kept = _is_kept(u, threshold, bandwidth, limit, row, n_rows, n, columns, JUMP)
        place = at + tl.cumsum(kept.to(tl.int32), 0) - 1
        tl.store(columns_out + place, row // n_rows * n + columns, mask=kept)
        tl.store(values_out + place, u, mask=kept)
        at += tl.sum(kept.to(tl.int32), 0).to(tl.int64)


@triton.jit
def lane_maxima(best, product, bias, only, n_rows, n, ONLY: tl.constexpr, LANES: tl.constexpr):
    """One row: the upper 16 bits of the largest key of each lane."""
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, LANES)
    largest = tl.zeros([LANES], tl.int32)
    for first in range(0, n, LANES):
        u = _pre_activations(product, bias, only, row, n_rows, n, first + lanes, ONLY)
        largest = tl.maximum(largest, _key(u))
    tl.store(best + row * LANES + lanes, (largest >> 16).to(tl.int16))


@triton.jit
def segment_sums(out, source, index, weight, bounds, width, BLOCK: tl.constexpr, ENTRIES: tl.constexpr):
    """One segment, one block of columns."""
    segment = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    first = tl.load(bounds + segment)
    last = tl.load(bounds + segment + 1)
    total = tl.zeros([BLOCK], tl.float32)
    for at in range(first, last, ENTRIES):
        entry = at + tl.arange(0, ENTRIES)
        real = entry < last
        rows = tl.load(index + entry, mask=real, other=0)
        weights = tl.load(weight + entry, mask=real, other=0.0)
        tile = tl.load(
            source + rows[:, None] * width + columns[None, :], mask=real[:, None] & inside[None, :], other=0.0
        )
        total += tl.sum(weights[:, None] * tile.to(tl.float32), 0)
    tl.store(out + segment * width + columns, total, mask=inside)


@triton.jit
def row_dots(out, left, i, right, j, n_entries, width, BLOCK: tl.constexpr, ENTRIES: tl.constexpr):
    """A few entries, all columns."""
    entry = tl.program_id(0).to(tl.int64) * ENTRIES + tl.arange(0, ENTRIES)
    real = entry < n_entries
    of_left = tl.load(i + entry, mask=real, other=0) * width
    of_right = tl.load(j + entry, mask=real, other=0) * width
    total = tl.zeros([ENTRIES], tl.float32)
    for first in range(0, width, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        inside = real[:, None] & (columns < width)[None, :]
        a = tl.load(left + of_left[:, None] + columns[None, :], mask=inside, other=0.0).to(tl.float32)
        b = tl.load(right + of_right[:, None] + columns[None, :], mask=inside, other=0.0).to(tl.float32)
        total += tl.sum(a * b, 1)
    tl.store(out + entry, total, mask=real)
