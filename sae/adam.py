"""Adam over stacked members: one learning rate, step count and clip norm each, in place.

    m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²        p ← p − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)

Every tensor has the members on axis 0. The arithmetic is torch's fused kernel, which reads and writes each of the four
arrays once; it takes one learning rate a call, so a step is one call a member on views of the stack.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.optim.adam import adam

from .architecture import Params

BETAS = (0.9, 0.999)
EPS = 1e-8


class StackedAdam:
    """The state: both moments of every parameter, and the steps [M] each member has made."""

    def __init__(self, mean: Params, square: Params, steps: Tensor, *, betas: tuple[float, float], eps: float) -> None:
        self.mean = mean
        self.square = square
        self.steps = steps  # float32, as in torch.optim.Adam: exact to 2**24 steps
        self.betas = betas
        self.eps = eps

    @classmethod
    def zeros(cls, params: Params, *, betas: tuple[float, float] = BETAS, eps: float = EPS) -> StackedAdam:
        some = next(iter(params.values()))
        steps = torch.zeros(len(some), dtype=torch.float32, device=some.device)
        mean = {name: torch.zeros_like(p) for name, p in params.items()}
        square = {name: torch.zeros_like(p) for name, p in params.items()}
        return cls(mean, square, steps, betas=betas, eps=eps)

    def step(self, params: Params, grads: Params, *, members: range, lr: Sequence[float], skip: Tensor) -> None:
        """Move `members` (positions in the stack) by `grads`, whose axis 0 counts from the first of them.

        `lr` [M] and `skip` [M] bool are of the whole stack; a skipped member keeps its bits. Nothing waits for the
        device: whether to skip is read by the kernel.
        """
        for position, member in enumerate(members):
            self._step_one(
                {name: p[member] for name, p in params.items()},
                {name: g[position] for name, g in grads.items()},
                member,
                lr=lr[member],
                skip=skip[member],
            )
        first, last = members[0], members[-1] + 1
        self.steps[first:last] += ~skip[first:last]

    def _step_one(self, params: Params, grads: Params, member: int, *, lr: float, skip: Tensor) -> None:
        names = list(params)
        adam(
            [params[name] for name in names],
            # The kernel walks memory and not strides: a transposed gradient must be laid out like its parameter.
            [grads[name].contiguous() for name in names],
            [self.mean[name][member] for name in names],
            [self.square[name][member] for name in names],
            [],
            [self.steps[member].clone() for _ in names],  # the kernel counts each up by itself
            foreach=False,
            capturable=False,
            differentiable=False,
            fused=True,
            grad_scale=None,
            found_inf=skip.float(),
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=lr,
            weight_decay=0.0,
            eps=self.eps,
            maximize=False,
        )


def gradient_norms(grads: Params) -> Tensor:
    """The length of each member's whole gradient: [members, ...] each → [members]."""
    each = torch.stack([vector_norm(g.flatten(1), dim=1) for g in grads.values()])
    return each.square().sum(0).sqrt()


def clipped(grads: Params, norms: Tensor, limits: Tensor) -> Params:
    """Gradients shortened to at most `limits` [members], as torch.nn.utils.clip_grad_norm_ does for one member."""
    factor = (limits / (norms + 1e-6)).clamp(max=1.0)
    return {name: g * factor.view(-1, *[1] * (g.ndim - 1)) for name, g in grads.items()}
