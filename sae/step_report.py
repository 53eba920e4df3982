"""What one step of an ensemble says about each of its M members."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .architecture import Size, Step, Trained
from .coder import Dense

# What every group of members reports beside the parts of its loss.
OWN = ("loss", "grad_norm", "l0", "dead")
# What a loss reports and is no part of it, see `Trained.loss`.
NO_PART = (*OWN, "error")


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Tensors of M values stay on the device of the ensemble; reading one waits for the step to finish.

    Of a frozen member numbers may be NaN: nothing is computed for it where that saves time.
    """

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

    @classmethod
    def of(cls, numbers: Mapping[str, Tensor], *, variance: Tensor, **of_the_step: Any) -> StepReport:
        """`numbers` [M] each, parts of the loss among them; `variance` of the rows to be explained, per row."""
        unknown = torch.full_like(numbers["loss"], math.nan)
        error = numbers.get("error", numbers.get("reconstruction", unknown))
        return cls(
            loss=numbers["loss"],
            grad_norm=numbers["grad_norm"],
            l0=numbers["l0"],
            dead=numbers["dead"],
            fvu=error / variance,
            parts={name: values for name, values in numbers.items() if name not in NO_PART},
            **of_the_step,
        )

    @property
    def frozen_members(self) -> list[int]:
        """Positions of the frozen members."""
        return [i for i, stopped in enumerate(self.frozen.tolist()) if stopped]

    def member(self, i: int) -> dict[str, float]:
        """The numbers of one member, by name."""
        own = {"loss": self.loss, "grad_norm": self.grad_norm, "l0": self.l0, "fvu": self.fvu, "dead": self.dead}
        named = {**own, **self.parts}
        return {name: float(values[i]) for name, values in named.items()}


def gathered(
    parts: Sequence[Mapping[str, Tensor]], lengths: Sequence[int], *, names: Sequence[str], like: Tensor
) -> dict[str, Tensor]:
    """The numbers of all members from those of groups of them, [lengths[i]] each; NaN for a group that has none.

    `names`: of parts, where no group has any.
    """
    names = list(dict.fromkeys([*OWN, *(name for part in parts for name in part), *names]))
    nothing = [like.new_full((n,), math.nan) for n in lengths]
    return {name: torch.cat([part.get(name, nan) for part, nan in zip(parts, nothing, strict=True)]) for name in names}


def names_of_parts(architecture: Trained, size: Size, hyper: Mapping[str, float]) -> tuple[str, ...]:
    """What losses of this architecture report, where none is computed any more."""
    return _names_of_parts(architecture, size, tuple(hyper.items()))


@cache
def _names_of_parts(architecture: Trained, size: Size, hyper: tuple[tuple[str, float], ...]) -> tuple[str, ...]:
    """Of one row of zeros, which costs little and happens once."""
    params = {name: torch.zeros(shape) for name, shape in architecture.shapes(size).items()}
    step = Step(
        x=torch.zeros(1, size.d),
        target=torch.zeros(1, size.out),
        dead=torch.zeros(size.n, dtype=torch.bool),
        progress=torch.zeros(()),
        coder=Dense(),
    )
    with torch.no_grad():
        aux = architecture.loss(params, step, {name: torch.tensor(value) for name, value in hyper})[1]
    return tuple(name for name in aux if name not in ("firings", "buffers"))
