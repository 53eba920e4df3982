"""The contract of a dictionary architecture: pure functions over (params, x, hyper) that `vmap` can stack.

An architecture is a frozen dataclass; its fields are its hyperparameters. Fields named in `swept` may differ between
the members of an ensemble and reach the functions as 0-d tensors in `hyper`; the others are fixed for the ensemble
and are read from `self`. Shapes: B rows, d width of a row, n features, `out` width of what is reconstructed, which is d
except for transcoders.

`Architecture` is what every dictionary can do. `Trained` adds a loss and is learned by gradients in an ensemble;
`Fitted` adds a closed-form or classical fit and serves as a baseline.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from .coder import Coder
from .scaling import Scaling

Params = dict[str, Tensor]
Hyper = Mapping[str, Tensor]
Aux = dict[str, Any]

# Keys of a member that belong to its optimizer, its start and its size; no swept field may have such a name.
RESERVED = frozenset({"seed", "lr", "clip", "width"})


@dataclass(frozen=True)
class Size:
    """How large one member is."""

    d: int  # of a row that is read
    n: int  # features
    out: int  # of a row that is answered

    @classmethod
    def of(cls, d: int, n: int, out: int | None = None) -> Size:
        return cls(d, n, d if out is None else out)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of training gives the loss of one member."""

    x: Tensor  # [B, d], training units
    target: Tensor  # [B, out]: x itself, except for transcoders
    dead: Tensor  # [n] bool, features that have not fired for `dead_after` rows
    progress: Tensor  # 0-d, share of training done, from 0 to 1
    coder: Coder  # computes codes and what is decoded from them, sparse where that is faster


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    name: ClassVar[str]
    swept: ClassVar[tuple[str, ...]] = ()
    # "row": a row of one hook reconstructs itself. "pair": the row of one hook predicts that of another (transcoder).
    # "blocks": the rows of several hooks lie side by side in x; the field `blocks` gives their widths (crosscoder).
    reads: ClassVar[Literal["row", "pair", "blocks"]] = "row"

    @abstractmethod
    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter of one member, buffers included."""

    @abstractmethod
    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        """Codes [..., n] of rows [..., d]."""

    @abstractmethod
    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        """Rows [..., out] from codes [..., n]; affine in the codes."""

    def reconstruct(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        """Rows [..., out] from rows [..., d]. Overridden where the answer needs more of x than its codes."""
        return self.decode(params, self.encode(params, x, hyper), hyper)

    @abstractmethod
    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        """The parameters of the same function in model units, with directions of length 1.

        For rows x in model units, z = scaling.apply(x) and folded parameters q:
        reconstruct(q, x) = target.undo(reconstruct(params, z)), and codes are lengths of contributions in model units:
        encode(q, x)ᵢ = encode(params, z)ᵢ · ‖directionᵢ‖ / target.scale.
        """

    @abstractmethod
    def directions(self, params: Params) -> Tensor:
        """The decoder rows [n, out]."""

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

    def check(self, size: Size, hyper: Mapping[str, float]) -> None:
        """Raise ValueError with a sentence if one member cannot be: l1 < 0, k > n, blocks that do not add up to d."""
        for name, value in hyper.items():
            if value < 0:
                raise ValueError(f"{name} of architecture {self.name!r} must be from 0 up, not {value:g}")
        self.check_use(size, hyper)

    def check_use(self, size: Size, hyper: Mapping[str, float]) -> None:
        """The part of `check` without which rows cannot even be encoded; a saved dictionary must meet it too."""
        return  # any values will do


@dataclass(frozen=True, kw_only=True)
class Trained(Architecture):
    # Swept fields that weigh a sparsity penalty: the sparsity warm-up multiplies them.
    penalties: ClassVar[tuple[str, ...]] = ()
    # Parameters that no gradient moves: constants, and running numbers that a step sets through aux["buffers"].
    buffers: ClassVar[tuple[str, ...]] = ()
    # Parameters whose rows keep length 1: gradients are projected off the rows, rows are normalised after the step.
    unit_rows: ClassVar[tuple[str, ...]] = ()
    # Whether the loss changes with the share of training that is done, so that training must have an end.
    needs_an_end: ClassVar[bool] = False

    @abstractmethod
    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        """Fresh parameters on the CPU, float32. With `sample` [N, d] each feature fires on `share` of its rows."""

    @abstractmethod
    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        """A scalar, and what to report.

        Of the second, "firings" [n] is how many rows of the batch fire each feature (not differentiable), "buffers"
        (optional) holds the new value of each buffer, and every other entry is a scalar part of the loss.
        "reconstruction" is the mean over rows of ‖target − answer‖²; a loss that measures it otherwise gives that as
        "error" (optional).
        The gradient with respect to a feature that fires on no row should be zero, except for auxiliary losses.
        """


@dataclass(frozen=True, kw_only=True)
class Fitted(Architecture):
    @abstractmethod
    def fit(self, size: Size, hyper: Mapping[str, float], generator: torch.Generator, rows: Tensor) -> Params:
        """Parameters in the units of `rows` [N, d] (training units), from all of them at once, float32."""
