"""k winners take all: a hard gate of exactly k ones whose gradient is that of soft weights.

Ferrao et al. 2025 (self-ablating transformers). Scores of a row in descending order s₍₁₎ ≥ s₍₂₎ ≥ …, τ = 0.1:
    θ = (s₍ₖ₎ + s₍ₖ₊₁₎) / 2,   T = τ (s₍ₖ₎ − s₍ₖ₊₁₎),   w = k · σ((s − θ)/T) / Σ σ((s − θ)/T)
    h = 1 at the k largest, else 0,   m = h − stop(w) + w: the value of h, the gradient of w.
The value must be hard: their first models used w itself, and the mask told the ablated stream about the next token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from actpipe.errors import Misuse

TAU = 0.1  # of the authors' code; their paper says 1 and a softmax in place of the sigmoid
FLOOR = 1e-12  # added to T, as in their code


def k_winners(scores: Tensor, k: int, tau: float = TAU) -> Tensor:
    """Scores [..., n] → mask [..., n] with exactly k ones (of equals, any), with the gradient of `soft_winners`.

    Where k is n every unit wins, and nothing depends on the scores.
    """
    n = scores.shape[-1]
    _competing(k, n)
    if k == n:
        return torch.ones_like(scores)
    mask: Tensor = _Winners.apply(scores, k, tau)  # type: ignore[no-untyped-call]
    return mask


class _Winners(torch.autograd.Function):
    """h forward, and back the gradient of w in closed form: one selection, half of what autograd would move.

    With S = Σσ, gradient g of w, and z = (s − θ)/T:
        u = k/S (g − Σ g σ / S) σ (1 − σ) / T,   ∂s = u,   ∂θ = −Σu,   ∂T = −Σ u z,
    and s₍ₖ₎ and s₍ₖ₊₁₎ get ∂θ/2 ± τ ∂T besides.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, k: int, tau: float) -> Tensor:
        largest, places = scores.topk(k + 1, dim=-1)
        ctx.save_for_backward(scores, largest[..., k - 1 :], places[..., k - 1 :])
        ctx.k, ctx.tau = k, tau
        return torch.zeros_like(scores).scatter_(-1, places[..., :k], 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        scores, pair, places = ctx.saved_tensors
        s, pair = _wide(scores), _wide(pair)
        theta, gap = pair.mean(-1, keepdim=True), pair[..., :1] - pair[..., 1:]
        tied = gap <= 0
        slope = 1 / torch.where(tied, 1.0, ctx.tau * gap + FLOOR)
        z = (s - theta).mul_(slope)
        sigma = torch.sigmoid(z)
        total = sigma.sum(-1, keepdim=True)
        u = g - (g * sigma).sum(-1, keepdim=True) / total
        u = torch.ops.aten.sigmoid_backward(u.to(s.dtype), sigma).mul_(torch.where(tied, 0.0, slope * ctx.k / total))
        of_theta, of_t = -u.sum(-1, keepdim=True) / 2, -ctx.tau * z.mul_(u).sum(-1, keepdim=True)
        u.scatter_add_(-1, places, torch.cat([of_theta + of_t, of_theta - of_t], -1))
        return u.to(scores.dtype), None, None


def soft_winners(scores: Tensor, k: int, tau: float = TAU) -> Tensor:
    """w of the module's docstring, float32 at least; its gradient includes that of θ and T.

    A row in which s₍ₖ₎ = s₍ₖ₊₁₎ has the hard weights and no gradient: there T is 0, and as it goes to 0 the gradient
    does too (the two at the threshold are at ±1/2τ whatever T is, all others saturate), but the formula's would be 1/T.
    """
    n = scores.shape[-1]
    _competing(k, n)
    s = _wide(scores)  # neighbours in bfloat16 are often equal
    if k == n:
        return torch.ones_like(s)
    largest, places = s.topk(k + 1, dim=-1)
    last, next_one = largest[..., k - 1 : k], largest[..., k : k + 1]
    tied = last <= next_one
    temperature = torch.where(tied, 1.0, tau * (last - next_one) + FLOOR)
    w = torch.sigmoid((s - (last + next_one) / 2) / temperature)
    w = k * w / w.sum(-1, keepdim=True)
    return torch.where(tied, torch.zeros_like(w).scatter(-1, places[..., :k], 1.0), w)


def _competing(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise Misuse(f"k must be from 1 to the {n} units that compete, not {k}.")


def _wide(s: Tensor) -> Tensor:
    return s if s.dtype == torch.float64 else s.float()
