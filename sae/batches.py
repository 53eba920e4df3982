"""What a step of training takes: rows, and for transcoders the rows to predict."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from .architecture import Architecture, Size

Batch: TypeAlias = Tensor | tuple[Tensor, Tensor]


def check_batch(architecture: Architecture, size: Size, x: Tensor, target: Tensor | None) -> None:
    """Raise unless x is rows [B, d] and the target rows [B, out], given where the architecture predicts other rows."""
    if x.ndim != 2 or x.shape[1] != size.d or len(x) == 0:
        raise ValueError(f"a batch must be rows [B, {size.d}], not a tensor of shape {list(x.shape)}")
    if (target is None) == (architecture.reads == "pair"):
        raise ValueError(
            f"architecture {architecture.name!r} predicts "
            + ("other rows; give them as the target" if target is None else "its own rows and takes no target")
        )
    if target is not None and target.shape != (len(x), size.out):
        raise ValueError(f"the target must be rows [{len(x)}, {size.out}], not of shape {list(target.shape)}")
    for rows in (x,) if target is None else (x, target):
        _check_finite(rows)


def _check_finite(rows: Tensor) -> None:
    """Every member would take one damaged row for its own divergence. Asking a GPU would wait for it, so it is not."""
    if rows.device.type == "cpu" and not bool(torch.isfinite(rows.sum())):
        damaged = (~torch.isfinite(rows).all(1)).nonzero()[:, 0].tolist()
        if damaged:
            raise ValueError(
                f"{len(damaged)} of {len(rows)} rows of the batch hold NaN or infinity, the first at position "
                f"{damaged[0]}; look for damaged or overflowing activations"
            )
