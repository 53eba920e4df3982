"""Centre and scale rows so that E‖z‖² = d: z = scale · (x − center). Explicit, stored, and undone on export."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    center: Tensor  # [d], model units
    scale: float | Tensor  # training units per model unit; [d] where blocks of coordinates are scaled apart

    def __post_init__(self) -> None:
        if self.center.ndim != 1 or not bool(torch.isfinite(self.center).all()):
            raise ValueError(f"a center must be one finite row [d], not a tensor of shape {list(self.center.shape)}")
        if isinstance(self.scale, Tensor):
            if self.scale.shape != self.center.shape or not bool(((self.scale > 0) & self.scale.isfinite()).all()):
                raise ValueError("a scale for each coordinate must be one positive finite number for each")
        elif not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(f"a scale must be positive and finite, not {self.scale}")

    @classmethod
    def identity(cls, d: int) -> Scaling:
        return cls(torch.zeros(d), 1.0)

    @classmethod
    def from_moments(cls, mean: Tensor, variance: Tensor) -> Scaling:
        """From the mean [d] and variance [d] of all rows, as a store keeps them (float64)."""
        total = float(variance.double().sum())
        if not (total > 0 and math.isfinite(total)):
            raise ValueError(
                f"rows whose variance sums to {total} cannot be scaled; "
                "a constant or non-finite hook has nothing to learn from"
            )
        return cls(mean.detach().to(torch.float32), math.sqrt(variance.numel() / total))

    @classmethod
    def from_rows(cls, x: Tensor) -> Scaling:
        """From a sample [N, d]."""
        rows = x.double()
        return cls.from_moments(rows.mean(0), rows.var(0, correction=0))

    @classmethod
    def beside(cls, blocks: Sequence[Scaling]) -> Scaling:
        """For rows that are the rows of several hooks side by side, each with its own scaling."""
        scale = torch.cat([torch.as_tensor(b.scale).to(b.center).expand(len(b.center)) for b in blocks])
        return cls(torch.cat([b.center for b in blocks]), scale)

    def to(self, place: torch.device | str | torch.dtype) -> Scaling:
        scale = self.scale.to(place) if isinstance(self.scale, Tensor) else self.scale
        return Scaling(self.center.to(place), scale)

    def apply(self, x: Tensor) -> Tensor:
        """Model units → training units; narrow rows (bfloat16) are widened to the dtype of the center."""
        return x.to(self.center.dtype).sub(self.center).mul_(self.scale)

    def undo(self, z: Tensor) -> Tensor:
        """Training units → model units."""
        return z / self.scale + self.center.to(z)
