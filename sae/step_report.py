"""What one step of an ensemble says about each of its M members."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Tensors of M values stay on the device of the ensemble; reading one waits for the step to finish."""

    step: int  # steps made, this one included
    rows: int  # rows seen, this batch included
    lr_factor: float  # of the schedule, in this step
    sparsity_factor: float
    loss: Tensor  # [M], before the step
    grad_norm: Tensor  # [M], before clipping
    l0: Tensor  # [M], features that fire, mean over the rows of the batch
    fvu: Tensor  # [M], squared error over the variance of the batch; NaN where the loss names no "reconstruction"
    dead: Tensor  # [M], share of features that have not fired for `dead_after` rows
    frozen: Tensor  # [M] bool, members that no longer move because a loss or gradient was not finite
    parts: dict[str, Tensor]  # [M] each, the parts of the loss that the architecture names

    @property
    def frozen_members(self) -> list[int]:
        """Positions of the frozen members."""
        return [i for i, stopped in enumerate(self.frozen.tolist()) if stopped]

    def member(self, i: int) -> dict[str, float]:
        """The numbers of one member, by name."""
        own = {"loss": self.loss, "grad_norm": self.grad_norm, "l0": self.l0, "fvu": self.fvu, "dead": self.dead}
        named = {**own, **self.parts}
        return {name: float(values[i]) for name, values in named.items()}
