"""Members of different widths in one stack [M, ...]: a narrow member is the leading corner, the rest is zero.

Computed is on corners alone, views of neighbouring members of one width, so that a narrow member costs what it costs by
itself and has the same numbers. One vmap over padded and masked members would cost each as much as the widest, and be
wrong wherever an architecture counts its features (the prefixes of a Matryoshka).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from .architecture import Params

Shapes = Mapping[str, tuple[int, ...]]


def stacked(members: Sequence[Params], shapes: Shapes) -> Params:
    """One tensor [M, *shape] a name; what is smaller is padded with zeros at the end of each axis."""
    return {name: torch.stack([padded(p[name], shape) for p in members]) for name, shape in shapes.items()}


def padded(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    behind = [room for n, whole in zip(tensor.shape, shape, strict=True) for room in (whole - n, 0)]
    return pad(tensor, behind[::-1])


def corners(stack: Mapping[str, Tensor], shapes: Shapes, members: range) -> Params:
    """Views [len(members), *shape] of the stacks named in `shapes`."""
    return {name: corner(stack[name], shape, members) for name, shape in shapes.items()}


def corner(stack: Tensor, shape: tuple[int, ...], members: range) -> Tensor:
    return stack[(slice(members[0], members[-1] + 1), *map(slice, shape))]
