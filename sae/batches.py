"""What a step of training takes: rows, and for transcoders the rows to predict."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor

from .architecture import Architecture, Size

Batch: TypeAlias = Tensor | tuple[Tensor, Tensor]


def checked_batch(architecture: Architecture, size: Size, x: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rows [B, d] and what they should give, [B, out]: themselves where the architecture predicts no others."""
    if x.ndim != 2 or x.shape[1] != size.d or len(x) == 0:
        raise ValueError(f"a batch must be rows [B, {size.d}], not a tensor of shape {list(x.shape)}")
    if (target is None) == (architecture.reads == "pair"):
        raise ValueError(
            f"architecture {architecture.name!r} predicts "
            + ("other rows; give them as the target" if target is None else "its own rows and takes no target")
        )
    if target is None:
        return x, x
    if target.shape != (len(x), size.out):
        raise ValueError(f"the target must be rows [{len(x)}, {size.out}], not of shape {list(target.shape)}")
    return x, target
