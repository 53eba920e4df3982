"""What makes one member of an ensemble differ from the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .architecture import RESERVED, Architecture

# Resampling draws with the seed in the upper and the step in the lower half of 64 bits (sae/resampling.py).
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Member:
    width: int  # features
    seed: int = 0
    lr: float = 1e-3
    clip: float = math.inf  # largest norm of a gradient
    hyper: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"a member needs a width of at least 1, not {self.width}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"a seed must be a whole number from 0 to {LARGEST_SEED}, not {self.seed}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"a learning rate must be positive and finite, not {self.lr}")
        if not self.clip > 0:
            raise ValueError(f"a clip norm must be positive, not {self.clip}")
        for name, value in self.hyper.items():
            if not math.isfinite(value):
                raise ValueError(f"the hyperparameter {name} must be finite, not {value}")

    @classmethod
    def of(cls, architecture: Architecture, settings: Mapping[str, float], *, width: int) -> Member:
        """From "seed", "lr", "clip", "width" and swept fields; what is missing gets its default."""
        return cls(
            width=_whole("width", settings.get("width", width)),
            seed=_whole("seed", settings.get("seed", cls.seed)),
            lr=float(settings.get("lr", cls.lr)),
            clip=float(settings.get("clip", cls.clip)),
            hyper=architecture.hyper({name: value for name, value in settings.items() if name not in RESERVED}),
        )

    def to_json(self) -> dict[str, Any]:
        clip = self.clip if math.isfinite(self.clip) else None  # JSON has no infinity
        return {"width": self.width, "seed": self.seed, "lr": self.lr, "clip": clip, "hyper": dict(self.hyper)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Member:
        return cls(**{**stored, "clip": math.inf if stored["clip"] is None else stored["clip"]})


def _whole(name: str, value: float) -> int:
    if not math.isfinite(value) or value != int(value):
        raise ValueError(f"the {name} of a member must be a whole number, not {value}")
    return int(value)


def stacked_hyper(members: Sequence[Member], factors: Mapping[str, float]) -> dict[str, Tensor]:
    """Each swept field [len(members)], float64, those named in `factors` multiplied."""
    return {
        name: torch.tensor([m.hyper[name] * factors.get(name, 1.0) for m in members], dtype=torch.float64)
        for name in members[0].hyper
    }
