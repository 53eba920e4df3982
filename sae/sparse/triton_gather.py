"""Sums of gathered rows and dots of gathered rows: all that is left of a step once codes are lists.

    gathered_sum   outₛ = Σ over entries e of segment s of wₑ · source[indexₑ]
    dots           outₑ = left[iₑ] · right[jₑ]

Decoding, both weight gradients and every sum over the rows of a feature are the first, the gradient of codes the
second. A program owns what it writes and adds in the order of the list, so there are no atomics and the same input
gives the same bits. Sources may be bfloat16; sums are float32.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from .triton_kernels import LAUNCH, row_dots, segment_sums

# Entries and columns that a program holds at once. A feature has B · L0 / n entries on average, 16 at B 4096, L0 64,
# n 16384. Two warps side by side are 256 columns of 16 bytes a thread, so that sums over entries stay within a thread.
# Chosen from the code that the compiler makes for sm_90 (no spills, reads of 16 bytes); not measured.
ENTRIES = 16
SUM_WARPS = 2
ENTRIES_OF_DOTS = 8
DOT_WARPS = 4
WIDEST = 256


def gathered_sum(source: Tensor, index: Tensor, weight: Tensor, *, bounds: Tensor) -> Tensor:
    """[S, width] float32 of source [·, width], index and weight [N]; segment s is entries bounds[s] … bounds[s + 1]."""
    n_segments, width = len(bounds) - 1, source.shape[1]
    out = torch.empty(n_segments, width, dtype=torch.float32, device=source.device)
    block = _block(width)
    segment_sums[(n_segments, triton.cdiv(width, block))](
        out,
        source.contiguous(),
        index,
        weight,
        bounds,
        width,
        BLOCK=block,
        ENTRIES=ENTRIES,
        num_warps=SUM_WARPS,
        **LAUNCH,
    )
    return out


def dots(left: Tensor, i: Tensor, right: Tensor, j: Tensor) -> Tensor:
    """[N] float32 of left [·, width], right [·, width] and their rows i, j [N]."""
    n_entries, width = len(i), left.shape[1]
    out = torch.empty(n_entries, dtype=torch.float32, device=left.device)
    if n_entries:
        row_dots[(triton.cdiv(n_entries, ENTRIES_OF_DOTS),)](
            out,
            left.contiguous(),
            i,
            right.contiguous(),
            j,
            n_entries,
            width,
            BLOCK=_block(width),
            ENTRIES=ENTRIES_OF_DOTS,
            num_warps=DOT_WARPS,
            **LAUNCH,
        )
    return out


def _block(width: int) -> int:
    block: int = triton.next_power_of_2(width)
    return min(WIDEST, block)
