"""Codes that are not learned but solved for: non-negative least squares with an L1 penalty, by a fixed number of steps.

    argmin over f ≥ 0 of ‖x − f D‖² + l1 Σᵢ fᵢ

FISTA (Beck & Teboulle 2009) that starts a row's momentum again where it points uphill (O'Donoghue & Candès 2015).
"""

from __future__ import annotations

import torch
from torch import Tensor


def nonnegative_codes(x: Tensor, D: Tensor, l1: Tensor | float, *, steps: int) -> Tensor:
    """Codes [..., n] of rows [..., d] in the dictionary D [n, d]; no branch on data, so that `vmap` can stack it."""
    rate = 1 / curvature(D)
    towards = x @ D.mT - l1 / 2
    f = ahead = torch.zeros_like(towards)
    momentum = torch.ones_like(towards[..., :1])
    for _ in range(steps):
        new = torch.relu(ahead + rate * (towards - (ahead @ D) @ D.mT))
        uphill = ((ahead - new) * (new - f)).sum(-1, keepdim=True) > 0
        momentum = torch.where(uphill, 1.0, momentum)
        following = (1 + torch.sqrt(1 + 4 * momentum.square())) / 2
        ahead = new + (momentum - 1) / following * (new - f)
        f, momentum = new, following
    return f


def curvature(D: Tensor) -> Tensor:
    """A bound on the largest eigenvalue λ of D Dᵀ that is never below it and at most d^(1/16) above, 0-d.

    (Σ λᵢ¹⁶)^(1/16) by three squarings of DᵀD. A power iteration would approach λ from below, and long steps diverge.
    """
    gram = D.mT @ D
    size = gram.square().sum().sqrt().clamp(min=torch.finfo(gram.dtype).tiny)
    power = gram / size  # entries at most 1, so that the powers stay finite; λ is at least size / √d
    for _ in range(3):
        power = power @ power
    return size * power.square().sum() ** (1 / 16)
