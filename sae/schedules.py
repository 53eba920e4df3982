"""Learning rate and sparsity as functions of the step alone, so that resuming needs no state."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Warm-ups and decays of learning rate and sparsity penalty: on a line up from zero, and down to zero at the end.

    All zeros, the default, is a constant learning rate and penalty for ever.
    """

    steps: int = 0  # length of training; 0: no end, hence no decay
    lr_warmup: int = 0  # steps
    lr_decay: int = 0  # steps, the last ones
    lr_decay_shape: Literal["linear", "cosine"] = "linear"
    sparsity_warmup: int = 0  # steps
    sparsity_decay: int = 0  # steps, the last ones

    def __post_init__(self) -> None:
        if min(getattr(self, f.name) for f in fields(self) if f.name != "lr_decay_shape") < 0:
            raise ValueError(f"a schedule counts steps and cannot be negative: {self}")
        for decay in (self.lr_decay, self.sparsity_decay):
            if decay > self.steps:
                raise ValueError(f"a decay over {decay} steps does not fit into a training of {self.steps} steps")
        if self.lr_decay_shape not in ("linear", "cosine"):
            raise ValueError(f"a learning rate decays 'linear' or 'cosine', not {self.lr_decay_shape!r}")

    @classmethod
    def over(cls, steps: int) -> Schedule:
        """The usual shape: 5 % of the steps (at most 1000) of both warm-ups, 20 % of decay."""
        warmup = min(1000, steps // 20)
        return cls(steps=steps, lr_warmup=warmup, lr_decay=steps // 5, sparsity_warmup=warmup)

    def lr_factor(self, step: int) -> float:
        """For step 0, 1, …: the multiple of each member's learning rate; the first is already above zero."""
        left = self._left(step, self.lr_decay)
        falling = left if self.lr_decay_shape == "linear" else (1 - math.cos(math.pi * left)) / 2
        return min(_risen(step, self.lr_warmup), falling)

    def sparsity_factor(self, step: int) -> float:
        """For step 0, 1, …: the multiple of each penalty."""
        return min(_risen(step, self.sparsity_warmup), self._left(step, self.sparsity_decay))

    def progress(self, step: int) -> float:
        """The share of training done before step 0, 1, …; 0 in a training without an end."""
        return min(1.0, step / self.steps) if self.steps else 0.0

    def _left(self, step: int, decay: int) -> float:
        """The share of the last `decay` steps that is still to come."""
        return min(1.0, max(0, self.steps - step) / decay) if decay else 1.0


def _risen(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0
