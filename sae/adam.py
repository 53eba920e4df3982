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
from .stacks import corners

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
        """Move the `params` of `members` (positions in the stack) by `grads`, each [len(members), ...].

        Both may be corners of the stack. `lr` [M] and `skip` [M] bool are of the whole stack; a skipped member keeps
        its bits. Nothing waits for the device: whether to skip is read by the kernel.
        """
        shapes = {name: tuple(g.shape[1:]) for name, g in grads.items()}
        mean, square = corners(self.mean, shapes, members), corners(self.square, shapes, members)
        for i, member in enumerate(members):
            state = [[stack[name][i] for name in grads] for stack in (params, grads, mean, square)]
            self._step_one(*state, steps=self.steps[member], lr=lr[member], skip=skip[member])
        first, last = members[0], members[-1] + 1
        self.steps[first:last] += ~skip[first:last]

    def _step_one(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        mean: list[Tensor],
        square: list[Tensor],
        *,
        steps: Tensor,
        lr: float,
        skip: Tensor,
    ) -> None:
        # The kernel walks memory and not strides: a transposed gradient, or the corner of a matrix whose columns are
        # features, must be laid out in one piece.
        given = [params, mean, square]
        whole = [[t.contiguous() for t in tensors] for tensors in given]
        adam(
            whole[0],
            [g.contiguous() for g in grads],
            whole[1],
            whole[2],
            [],
            [steps.clone() for _ in params],  # the kernel counts each up by itself
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
        for views, pieces in zip(given, whole, strict=True):
            for view, piece in zip(views, pieces, strict=True):
                if piece is not view:
                    view.copy_(piece)


def gradient_norms(grads: Params) -> Tensor:
    """The length of each member's whole gradient: [members, ...] each → [members]."""
    each = torch.stack([vector_norm(g.flatten(1), dim=1) for g in grads.values()])
    return each.square().sum(0).sqrt()


def clipped(grads: Params, norms: Tensor, limits: Tensor) -> Params:
    """Gradients shortened to at most `limits` [members], as torch.nn.utils.clip_grad_norm_ does for one member."""
    factor = (limits / (norms + 1e-6)).clamp(max=1.0)
    return {name: g * factor.view(-1, *[1] * (g.ndim - 1)) for name, g in grads.items()}
