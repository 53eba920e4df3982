"""The contract of a dictionary architecture: pure functions over (params, x, hyper) that `vmap` can stack.

An architecture is a frozen dataclass; its fields are its hyperparameters. Fields named in `swept` may differ between
the members of an ensemble and reach the functions as 0-d tensors in `hyper`; the others are fixed for the ensemble
and are read from `self`. Shapes: B rows, d width of a row, n features.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .scaling import Scaling

Params = dict[str, Tensor]
Hyper = Mapping[str, Tensor]
Aux = dict[str, Tensor]

# Keys of a member that belong to its optimizer and its start; no architecture may sweep a field of such a name.
RESERVED = frozenset({"seed", "lr", "clip"})


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    name: ClassVar[str]
    swept: ClassVar[tuple[str, ...]]
    # Swept fields that weigh a sparsity penalty: the sparsity warm-up multiplies them.
    penalties: ClassVar[tuple[str, ...]]

    @abstractmethod
    def shapes(self, *, d: int, width: int) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter of one member."""

    @abstractmethod
    def init(
        self, *, d: int, width: int, generator: torch.Generator, sample: Tensor | None = None, share: float = 0.02
    ) -> Params:
        """Fresh parameters on the CPU, float32. With `sample` [N, d] each feature fires on `share` of its rows."""

    @abstractmethod
    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        """Codes [..., n] of rows [..., d]."""

    @abstractmethod
    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        """Rows [..., d] from codes [..., n]; affine in the codes."""

    @abstractmethod
    def loss(self, params: Params, x: Tensor, hyper: Hyper) -> tuple[Tensor, Aux]:
        """A scalar, and `{"codes": [B, n], ...}` where every other entry is a scalar part of the loss to report."""

    @abstractmethod
    def fold(self, params: Params, scaling: Scaling) -> Params:
        """The parameters of the same function in model units, with directions of length 1.

        For rows x in model units, z = scaling.apply(x) and folded parameters q:
        decode(q, encode(q, x)) = scaling.undo(decode(params, encode(params, z))).
        """

    @abstractmethod
    def directions(self, params: Params) -> Tensor:
        """The decoder rows [n, d]."""

    def fixed(self) -> dict[str, Any]:
        """The fields that are the same for every member; they must be JSON."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in self.swept}

    def hyper(self, member: Mapping[str, float]) -> dict[str, float]:
        """The swept fields of one member: as given, else the value of this instance."""
        unknown = sorted(set(member) - set(self.swept))
        if unknown:
            raise ValueError(
                f"architecture {self.name!r} cannot sweep {', '.join(map(repr, unknown))}; "
                f"a member may set {', '.join([*self.swept, *sorted(RESERVED)])}"
            )
        return {name: float(member.get(name, getattr(self, name))) for name in self.swept}
