"""Which pre-activations of a batch are codes, as lists: one read of them to count, one to write down.

    u = x W_encᵀ + b_enc

The product is left to cuBLAS; kernels read it twice and add the bias on the way, so u itself never exists. Members are
one tall problem: row m · B + b, column m · n + j, so that no kernel knows of members and there is one wait for the
device a batch, for how many entries there are.

Legend: M members, B rows, n features, d width of a row, N = entries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from sae.coder import wanted_of_batch
from sae.gates import BatchTopK, Gate, JumpReLU, TopK

from .triton_kernels import LAUNCH, count, fill, lane_maxima

# Columns that a program looks at together: 4 in each of 256 threads, 16 bytes of float32. With 8 in each, the compiler
# for sm_90 gives `fill` 101 registers and two blocks fit a processor, with 4 it gives 48 and five fit. Not measured.
BLOCK = 1024
WARPS = 8
# Maxima that `lane_maxima` keeps of a row. With k of them the k-th largest bounds the k-th largest entry from below;
# at k = 64 about 68 entries of a random row reach it, at k = 256 about 355. Beyond 512 the bound is zero.
LANES = 512
# Pre-activations that exist at once: 4 GiB of float32. Members beyond it wait for their turn.
LARGEST_PRODUCT = 2**30
# Bits of a float32 that is not negative: read as integers they are in the order of the numbers, NaN above infinity.
HIGHEST = 2**31 - 1
COARSE = 16  # bits that the lower bound leaves out: a part in 2⁷ of the value


class Entries(NamedTuple):
    """Pre-activations that a code or a gradient comes from, ordered by row, then by column."""

    row: Tensor  # [N] int64, below M · B
    column: Tensor  # [N] int64, below M · n
    value: Tensor  # [N] float32, u


def entries(
    x: Tensor,
    W_enc: Tensor,
    b_enc: Tensor,
    *,
    gate: Gate,
    only: Tensor | None,
    precision: torch.dtype | None,
) -> Entries:
    """Of x [1 or M, B, d], W_enc [M, n, d], b_enc [M, n], a stacked gate and `only` [M, n] bool."""
    n_members, n, _ = W_enc.shape
    n_rows = x.shape[1]
    x, W_enc = (x, W_enc) if precision is None else (x.to(precision), W_enc.to(precision))
    together = max(1, LARGEST_PRODUCT // (n_rows * n))
    found = []
    for first in range(0, n_members, together):
        of = slice(first, first + together)
        product = torch.bmm((x if len(x) == 1 else x[of]).expand(len(W_enc[of]), -1, -1), W_enc[of].mT)
        read = _Read(product, b_enc[of].contiguous(), None if only is None else only[of].contiguous())
        part = _chosen(read, type(gate)(*(tensor[of].contiguous() for tensor in gate)))
        found.append(Entries(part.row + first * n_rows, part.column + first * n, part.value))
    return Entries(*(torch.cat(parts) for parts in zip(*found, strict=True)))


class _Read(NamedTuple):
    """What kernels make pre-activations of."""

    product: Tensor  # [M, B, n]
    bias: Tensor  # [M, n]
    only: Tensor | None  # [M, n] bool

    @property
    def n_rows(self) -> int:
        return self.product.shape[0] * self.product.shape[1]

    def arguments(self) -> dict[str, Any]:
        _, rows, n = self.product.shape
        only = self.bias if self.only is None else self.only.view(torch.int8)
        return {
            "product": self.product,
            "bias": self.bias,
            "only": only,
            "n_rows": rows,
            "n": n,
            "ONLY": self.only is not None,
            "num_warps": WARPS,
            **LAUNCH,
        }


def _chosen(read: _Read, gate: Gate) -> Entries:
    if isinstance(gate, TopK):
        # rank < k asks for as many as the next whole number.
        limits = _reached_by(_maxima(read), gate.k[:, None])
        return _largest_of_rows(_kept(read, gate, limits), gate.k, read.product.shape[1])
    if isinstance(gate, BatchTopK):
        n_members, n_rows, n = read.product.shape
        wanted = wanted_of_batch(gate.k, n_rows, n)
        limits = _reached_by(_maxima(read).flatten(1), wanted)
        return _largest_of_members(
            _kept(read, gate, limits[:, None].expand(n_members, n_rows).contiguous()), wanted, n_rows
        )
    limits = torch.zeros(read.product.shape[:2], dtype=torch.int32, device=read.product.device)
    return _kept(read, gate, limits)


def _kept(read: _Read, gate: Gate, limits: Tensor) -> Entries:
    """Entries that are positive and reach the limit of their row; with a JumpReLU those that reach its window."""
    threshold, bandwidth = gate if isinstance(gate, JumpReLU) else (read.bias, read.bias)
    arguments = {
        **read.arguments(),
        "threshold": threshold,
        "bandwidth": bandwidth,
        "limits": limits,
        "JUMP": isinstance(gate, JumpReLU),
        "BLOCK": min(BLOCK, triton.next_power_of_2(read.product.shape[-1])),
    }
    device = read.product.device
    counts = torch.empty(read.n_rows, dtype=torch.int64, device=device)
    count[(read.n_rows,)](counts=counts, **arguments)
    ends = counts.cumsum(0)
    total = int(ends[-1])
    found = Entries(
        torch.repeat_interleave(torch.arange(read.n_rows, device=device), counts, output_size=total),
        torch.empty(total, dtype=torch.int64, device=device),
        torch.empty(total, dtype=torch.float32, device=device),
    )
    fill[(read.n_rows,)](starts=ends - counts, columns_out=found.column, values_out=found.value, **arguments)
    return found


def _maxima(read: _Read) -> Tensor:
    """The largest of every LANES-th pre-activation of each row, as the upper halves of their bits: [M, B, LANES]."""
    lanes = min(LANES, triton.next_power_of_2(read.product.shape[-1]))
    best = torch.empty(*read.product.shape[:2], lanes, dtype=torch.int16, device=read.product.device)
    lane_maxima[(read.n_rows,)](best=best, LANES=lanes, **read.arguments())
    return best


def _reached_by(best: Tensor, wanted: Tensor) -> Tensor:
    """The largest limit that at least `wanted` of `best` [..., L] reach, found bit by bit, as bits of a float32."""
    limit = torch.zeros_like(best[..., 0])
    for bit in reversed(range(31 - COARSE)):
        higher = limit | (1 << bit)
        enough = (best >= higher[..., None]).sum(-1) >= wanted
        limit = torch.where(enough, higher, limit)
    return limit.int() << COARSE


def _largest_of_rows(found: Entries, k: Tensor, n_rows: int) -> Entries:
    """The k [M] largest entries of each row; the earlier of equals comes first."""
    order = _descending(found.row, found.value)
    row = found.row[order]
    place = torch.arange(len(row), device=row.device) - torch.searchsorted(found.row, row)
    kept = torch.zeros_like(row, dtype=torch.bool)
    kept[order] = place < k[row // n_rows]
    return Entries(*(tensor[kept] for tensor in found))


def _largest_of_members(found: Entries, wanted: Tensor, n_rows: int) -> Entries:
    """The entries of each member that are no smaller than its `wanted`-th [M] largest."""
    member = found.row // n_rows
    if not len(member):
        return found
    bounds = torch.searchsorted(member, torch.arange(len(wanted) + 1, device=member.device))
    last = torch.minimum(bounds[:-1] + wanted, bounds[1:]) - 1
    # A member without entries looks at another's, and has none to compare.
    smallest = _bits(found.value)[_descending(member, found.value)][last.clamp(0)]
    kept = _bits(found.value) >= smallest[member]
    return Entries(*(tensor[kept] for tensor in found))


def _descending(part: Tensor, value: Tensor) -> Tensor:
    """The order by part, then from the largest value down, then as it was."""
    return ((part << 31) | (HIGHEST - _bits(value))).sort(stable=True).indices


def _bits(value: Tensor) -> Tensor:
    return torch.where(value.isnan(), HIGHEST, value.view(torch.int32)).long()
