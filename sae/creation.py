"""Fresh members, after every one of them has been found possible."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .architecture import Params, Size, Trained
from .member import Member
from .stacks import stacked


def checked_size(
    architecture: Trained, members: Sequence[Member], *, d: int, out: int | None, sample: Tensor | None
) -> Size:
    """The size of the widest member."""
    if not members:
        raise ValueError("an ensemble needs at least one member")
    if d < 1 or (out is not None and out < 1):
        raise ValueError(f"rows need a width of at least 1, not d = {d} and out = {out}")
    if out is not None and out != d and architecture.reads != "pair":
        raise ValueError(f"architecture {architecture.name!r} predicts its own rows; out must be d = {d}, not {out}")
    if sample is not None and (sample.ndim != 2 or sample.shape[1] != d):
        raise ValueError(f"the sample must be rows [N, {d}], not a tensor of shape {list(sample.shape)}")
    for member in members:
        architecture.check(Size.of(d, member.width, out), member.hyper)
    return Size.of(d, max(m.width for m in members), out)


def fresh(
    architecture: Trained, members: Sequence[Member], size: Size, *, sample: Tensor | None, share: float
) -> Params:
    """Stacked parameters on the CPU, float32; each member's from its own seed, at its own width."""
    rows = None if sample is None else sample.detach().to("cpu", torch.float32)
    each = [
        architecture.init(
            Size(size.d, m.width, size.out),
            m.hyper,
            torch.Generator().manual_seed(m.seed),
            sample=rows,
            share=share,
        )
        for m in members
    ]
    return stacked(each, architecture.shapes(size))
