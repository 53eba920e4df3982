"""Arithmetic at places (row, column) of a matrix that is never built: dots and weighted sums of rows, their order."""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# Elements gathered at once where dots are taken without MKL: 16 MiB of float32 a side.
GATHERED = 2**22


def row_dots(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """a[rowsⱼ] · b[columnsⱼ] for each place j; rows int32 ascending."""
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return gathered_dots(a, b, rows, columns)
    _warned_of_csr()
    places = torch.sparse_csr_tensor(
        starts(rows, len(a)), columns, a.new_zeros(len(rows)), (len(a), len(b)), check_invariants=False
    )
    dots: Tensor = torch.sparse.sampled_addmm(places, a, b.mT, beta=0.0).values()
    return dots


@functools.cache
def _warned_of_csr() -> None:
    """torch warns once a process that "sparse CSR tensor support is in beta state", which no user can change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.empty(0, 0).to_sparse_csr()


def gathered_dots(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The same with nothing but gathers."""
    size = max(1, GATHERED // a.shape[1])
    blocks = zip(torch.split(rows, size), torch.split(columns, size), strict=True)
    dots = [(a.index_select(0, r) * b.index_select(0, c)).sum(1) for r, c in blocks]
    return torch.cat(dots) if dots else a.new_zeros(0)


def bag_sums(weights: Tensor, indices: Tensor, offsets: Tensor, rows: Tensor) -> Tensor:
    """Σⱼ weightsⱼ rows[indicesⱼ] over each bag j = offsetsᵢ … offsetsᵢ₊₁."""
    return embedding_bag(indices, rows, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)


def starts(ascending: Tensor, n: int) -> Tensor:
    """Where each of 0 … n − 1 begins in ascending int32 numbers, and the end: [n + 1]."""
    return torch.searchsorted(ascending, torch.arange(n + 1, dtype=ascending.dtype), out_int32=True)


def positions(mask: Tensor) -> Tensor:
    """Where a contiguous bool matrix is true, counted along its rows: int32.

    Eight bytes are looked at as one number first, because most of them are zero.
    """
    if mask.numel() % 8:
        return mask.view(-1).nonzero()[:, 0].to(torch.int32)
    words = mask.view(-1).view(torch.int64)
    some = words.nonzero()[:, 0]
    true = words.index_select(0, some).view(torch.uint8).nonzero()[:, 0]
    return some.to(torch.int32).mul_(8).index_select(0, true >> 3).add_((true & 7).to(torch.int32))
