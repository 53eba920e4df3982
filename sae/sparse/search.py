"""Which codes a gate lets through, row by row, without a matrix of codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sae.coder import wanted_of_batch
from sae.gates import BatchTopK, Gate, JumpReLU, TopK

from .gather import positions, starts
from .product import Plain, Product, Screen, marks_pay

# Pre-activations of one block of rows: 16 MiB in float32, 8 in bfloat16, so that what reads them finds them in a cache.
IN_BLOCK = 2**22
FIRST_BLOCK = 128  # rows
# Rows whose pre-activations tell where a BatchTopK has to search, and how many times the codes that it wants there must
# be expected, so that a second search is hardly ever needed.
SAMPLED = 64
MARGIN = 1.5


class Found(NamedTuple):
    """Places in row-major order."""

    rows: Tensor  # int32 [z]
    columns: Tensor  # int32 [z]
    values: Tensor  # [z], u there

    def where(self, kept: Tensor) -> Found:
        if bool(kept.all()):
            return self
        places = kept.nonzero()[:, 0]
        return Found(*(part.index_select(0, places) for part in self))


def search(x: Tensor, W: Tensor, b: Tensor, gate: Gate, *, screened: bool, most: float) -> Found | None:
    """What the gate lets through of u = x Wᵀ + b; of a JumpReLU, what reaches the windows around its thresholds.

    None if that is more than the share `most` or if a number is not finite: a matrix of codes serves better then.
    """
    if not bool(torch.isfinite(x.sum() + W.sum() + b.sum())):
        return None
    if isinstance(gate, JumpReLU):
        return _found(x, W, b, gate.threshold - gate.bandwidth / 2, screened=screened, most=most)
    positive = b.new_tensor(torch.finfo(b.dtype).tiny)
    if isinstance(gate, TopK):
        return _found(x, W, b, positive, k=whole(gate.k), screened=screened, most=most)
    if isinstance(gate, BatchTopK):
        wanted = int(wanted_of_batch(gate.k, len(x), len(W)))
        lowest = torch.maximum(_expected_bound(x, W, b, wanted), positive)
        found = _found(x, W, b, lowest, screened=screened, most=most)
        if found is not None and len(found.values) < wanted and bool(lowest > positive):
            found = _found(x, W, b, positive, screened=screened, most=most)
        return None if found is None else _largest_of_batch(found, wanted)
    return _found(x, W, b, positive, screened=screened, most=most)


def _found(
    x: Tensor, W: Tensor, b: Tensor, lowest: Tensor, *, k: int | None = None, screened: bool, most: float
) -> Found | None:
    """u ≥ lowest, and with k only the k largest of each row; None if the first block has more than the share `most`."""
    if k == 0:
        nowhere = torch.empty(0, dtype=torch.int32)
        return Found(nowhere, nowhere, b.new_empty(0))
    product: Product = (Screen if screened else Plain)(x, W, b, lowest)
    parts: list[Found] = []
    for start, stop in blocks(len(x), len(W)):
        product.multiply(start, stop)
        mask = product.reaching() if k is None or not marks_pay(len(W), k) else product.reaching_largest(k)
        flat = positions(mask)
        if not parts and len(flat) > most * mask.numel():
            return None
        rows = flat.div(len(W), rounding_mode="floor")
        columns = flat - rows * len(W)
        found = Found(rows, columns, product.values(flat, rows, columns))
        if not product.exact:
            found = found.where(found.values >= (lowest if lowest.ndim == 0 else lowest.index_select(0, columns)))
        if k is not None:
            found = _largest_of_rows(found, stop - start, k)
        parts.append(found._replace(rows=found.rows + start))
    return Found(*(torch.cat(part) for part in zip(*parts, strict=True)))


def whole(k: Tensor) -> int:
    """How many of the ranks 0, 1, … are below k."""
    return max(0, math.ceil(k.item()))


def blocks(n_rows: int, n: int) -> Iterator[tuple[int, int]]:
    """Ends of blocks of rows; the first is small, because a search may be given up after it."""
    size = max(1, IN_BLOCK // n)
    first = min(FIRST_BLOCK, size, n_rows)
    if first:
        yield 0, first
    for start in range(first, n_rows, size):
        yield start, min(start + size, n_rows)


def selected(u: Tensor, gate: Gate) -> Tensor:
    """What `search` finds, as a matrix: codes, and for a JumpReLU u itself. Overwrites u [B, n]."""
    if isinstance(gate, TopK):
        return torch.where(largest(u, whole(gate.k)), u.relu(), 0.0)
    if isinstance(gate, BatchTopK):
        wanted = int(wanted_of_batch(gate.k, *u.shape))
        last = u.view(-1).kthvalue(u.numel() - wanted + 1).values
        return torch.where(u < last, 0.0, u.relu())  # NaN shows
    return u if isinstance(gate, JumpReLU) else u.relu_()


def _largest_of_rows(found: Found, n_rows: int, k: int) -> Found:
    begin = starts(found.rows, n_rows)
    most = int(begin.diff().max())
    if most <= k:
        return found
    place = torch.arange(len(found.rows), dtype=torch.int32) - begin.index_select(0, found.rows)
    place += found.rows * most
    padded = found.values.new_full((n_rows * most,), -torch.inf).index_copy_(0, place.long(), found.values)
    return found.where(largest(padded.view(n_rows, most), k).view(-1).index_select(0, place))


def largest(u: Tensor, k: int) -> Tensor:
    """Which are the k largest of each row of u [rows, m]; the earlier of equals comes first."""
    if k >= u.shape[1]:
        return torch.ones_like(u, dtype=torch.bool)
    if k <= 0:
        return torch.zeros_like(u, dtype=torch.bool)
    last = u.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    above = ~(u <= last)  # NaN is the largest of all: it is to show, not to silence its row
    tied = u == last
    left = k - above.sum(1, keepdim=True)
    return above | (tied & (tied.cumsum(1) <= left))


def _largest_of_batch(found: Found, wanted: int) -> Found:
    if len(found.values) <= wanted:
        return found
    return found.where(found.values >= found.values.kthvalue(len(found.values) - wanted + 1).values)


def _expected_bound(x: Tensor, W: Tensor, b: Tensor, wanted: int) -> Tensor:
    """What MARGIN times the wanted number of pre-activations is expected to reach, from a sample of rows."""
    rows = x[:: max(1, len(x) // SAMPLED)]
    u = torch.addmm(b, rows, W.mT).view(-1)
    expected = math.ceil(MARGIN * wanted * len(rows) / len(x))
    return u.kthvalue(max(1, len(u) - expected + 1)).values
