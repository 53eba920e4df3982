"""Learning rate and sparsity as functions of the step alone, so that resuming needs no state."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up of the learning rate, linear decay to zero at its end, linear warm-up of the sparsity penalty.

    All zeros, the default, is a constant learning rate and penalty for ever.
    """

    steps: int = 0  # length of training; 0: no end, hence no decay
    lr_warmup: int = 0  # steps
    lr_decay: int = 0  # steps, the last ones
    sparsity_warmup: int = 0  # steps

    def __post_init__(self) -> None:
        if min(self.steps, self.lr_warmup, self.lr_decay, self.sparsity_warmup) < 0:
            raise ValueError(f"a schedule counts steps and cannot be negative: {self}")
        if self.lr_decay > self.steps:
            raise ValueError(f"a decay over {self.lr_decay} steps does not fit into a training of {self.steps} steps")

    @classmethod
    def over(cls, steps: int) -> Schedule:
        """The usual shape: 5 % of the steps (at most 1000) of both warm-ups, 20 % of decay."""
        warmup = min(1000, steps // 20)
        return cls(steps=steps, lr_warmup=warmup, lr_decay=steps // 5, sparsity_warmup=warmup)

    def lr_factor(self, step: int) -> float:
        """For step 0, 1, …: the multiple of each member's learning rate; the first is already above zero."""
        rising = min(1.0, (step + 1) / self.lr_warmup) if self.lr_warmup else 1.0
        falling = min(1.0, max(0, self.steps - step) / self.lr_decay) if self.lr_decay else 1.0
        return min(rising, falling)

    def sparsity_factor(self, step: int) -> float:
        return min(1.0, (step + 1) / self.sparsity_warmup) if self.sparsity_warmup else 1.0
