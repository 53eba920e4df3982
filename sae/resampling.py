"""Dead features started again from rows that are explained badly (Bricken et al. 2023, "Neuron resampling").

Of a batch, rows are drawn with probability proportional to the square of their loss. A dead feature then reads and
writes along its row: the decoder row gets the mean length of the alive ones, the encoder row 0.2 of theirs, its bias is
zero and Adam forgets it. The draw is a function of the member's seed and the step, so resuming gives the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .architecture import Params, Size, Trained
from .stacks import Shapes

ENCODER_SHARE = 0.2  # of the mean length of alive encoder rows; Bricken et al. 2023


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """After every `every`-th step, until step `until`; the batch of that step is drawn from."""

    every: int  # steps
    until: int  # steps; the loss needs a while to fall again after the last time

    def __post_init__(self) -> None:
        if self.every < 1 or self.until < self.every:
            raise ValueError(
                f"resampling every {self.every} steps until step {self.until} never happens; "
                "give every ≥ 1 and until ≥ every"
            )

    def is_due(self, steps: int) -> bool:
        return steps % self.every == 0 and steps <= self.until


def check_resampling(architecture: Trained, size: Size) -> None:
    """Raise unless a feature of the architecture is a row of W_enc, one of W_dec, and single numbers."""
    own = per_feature(architecture, size)
    if strange := [name for name, shape in own.items() if len(shape) > 1 and name not in ("W_enc", "W_dec")]:
        raise ValueError(
            f"features of architecture {architecture.name!r} cannot be resampled: {', '.join(strange)} "
            "belongs to them, and nobody has said how it would start again"
        )
    if getattr(architecture, "whiten", False):
        raise ValueError(
            f"features of a whitened {architecture.name!r} cannot be resampled: they read other rows than those of the "
            "batch. Train without whitening or without resampling"
        )
    if not {"W_enc", "W_dec"} & set(own):
        raise ValueError(f"features of architecture {architecture.name!r} cannot be resampled: they are not learned")


def per_feature(architecture: Trained, size: Size) -> Shapes:
    """The learned parameters whose size depends on the number of features."""
    more = architecture.shapes(Size(size.d, size.n + 1, size.out))
    return {
        name: shape
        for name, shape in architecture.shapes(size).items()
        if more[name] != shape and name not in architecture.buffers
    }


def drawn_rows(losses: Tensor, n: int, *, seed: int, step: int) -> Tensor:
    """The positions [n] of rows drawn with probability ∝ loss²; without repetition as long as there are enough."""
    # Scaled to at most 1 and in float64, so that squares neither overflow nor vanish together.
    relative = (losses / losses.max()).double().cpu()
    weights = torch.where(relative > 0, relative, 0.0).square()
    if not bool(weights.any()):  # every row is explained, or none has a finite loss: any is as good as another
        weights = torch.ones_like(weights)
    enough = int((weights > 0).sum()) >= n
    generator = torch.Generator().manual_seed(seed * 2**32 + step)
    return torch.multinomial(weights, n, replacement=not enough, generator=generator).to(losses.device)


def restarted(params: Params, dead: Tensor, *, reads: Tensor, writes: Tensor) -> Params:
    """New values of what belongs to features [n], where `dead` ones read along `reads` and write along `writes`.

    `reads` [n dead, d] and `writes` [n dead, out] are rows of the batch. Of numbers that are no bias a dead feature
    gets the mean of the alive ones, but of a threshold the share that it gets of an encoder row: it would hardly ever
    come above a whole one. Heuristic, not in the source.
    """
    alive = ~dead if bool((~dead).any()) else torch.ones_like(dead)
    tied = "W_dec" not in params
    started = {}
    for name, p in params.items():
        started[name] = p.clone()
        if name.startswith("b_"):
            started[name][dead] = 0.0
        elif p.ndim == 1:
            started[name][dead] = p[alive].mean() + (math.log(ENCODER_SHARE) if name == "log_threshold" else 0.0)
        else:
            rows = reads if name == "W_enc" else writes
            share = ENCODER_SHARE if name == "W_enc" and not tied else 1.0
            started[name][dead] = share * p[alive].norm(dim=1).mean() * normalize(rows, dim=1)
    return started
