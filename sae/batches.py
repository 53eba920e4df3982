"""What a step of training takes: rows, and for transcoders the rows to predict."""

from __future__ import annotations

from typing import TypeAlias

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
