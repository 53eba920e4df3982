"""Rows in their stored form in memory, and back: what lies between a store's files and the numbers of the model.

The stored form of n rows is one tensor with a row each, so that whoever moves rows about need not know what is in them.
"""

from __future__ import annotations

import torch

from .dtypes import TORCH, convert
from .layout import HookLayout


def empty_rows(rows: int, each: HookLayout) -> torch.Tensor:
    """[rows, …] in the stored form, not filled in."""
    return torch.empty((rows, each.width), dtype=TORCH[each.dtype])


def decode_rows(rows: torch.Tensor, each: HookLayout, out: torch.Tensor) -> torch.Tensor:
    """Write what stored rows mean, in the units of the model, into `out` [rows, width] (float32)."""
    return convert(rows, out)
