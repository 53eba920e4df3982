"""k winners take all: a hard gate of exactly k ones whose gradient is that of soft weights.

Ferrao et al. 2025 (self-ablating transformers). Scores of a row in descending order s₍₁₎ ≥ s₍₂₎ ≥ …, τ = 0.1:
    θ = (s₍ₖ₎ + s₍ₖ₊₁₎) / 2,   T = τ (s₍ₖ₎ − s₍ₖ₊₁₎),   w = k · σ((s − θ)/T) / Σ σ((s − θ)/T)
    h = 1 at the k largest, else 0,   m = h − stop(w) + w: the value of h, the gradient of w.
The value must be hard: their first models used w itself, and the mask told the ablated stream about the next token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from actpipe.errors import Misuse

TAU = 0.1  # of the authors' code; their paper says 1 and a softmax in place of the sigmoid
FLOOR = 1e-12  # added to T, as in their code


def k_winners(scores: Tensor, k: int, tau: float = TAU) -> Tensor:
    """Scores [..., n] → mask [..., n] with exactly k ones (the first of equals), differentiable through `soft_winners`.

    Where k is n every unit wins, and nothing depends on the scores.
    """
    soft = soft_winners(scores, k, tau)
    hard = torch.zeros_like(soft).scatter(-1, scores.topk(k, dim=-1).indices, 1.0)
    # In this order the difference is exactly zero and the value exactly hard.
    return (hard + (soft - soft.detach())).to(scores.dtype)


def soft_winners(scores: Tensor, k: int, tau: float = TAU) -> Tensor:
    """w of the module's docstring, float32 at least; its gradient includes that of θ and T.

    A row in which s₍ₖ₎ = s₍ₖ₊₁₎ has the hard weights and no gradient: there T is 0, and as it goes to 0 the gradient
    does too (the two at the threshold are at ±1/2τ whatever T is, all others saturate), but the formula's would be 1/T.
    """
    n = scores.shape[-1]
    if not 1 <= k <= n:
        raise Misuse(f"k must be from 1 to the {n} units that compete, not {k}.")
    s = scores if scores.dtype == torch.float64 else scores.float()  # neighbours in bfloat16 are often equal
    if k == n:
        return torch.ones_like(s)
    largest, places = s.topk(k + 1, dim=-1)
    last, next_one = largest[..., k - 1 : k], largest[..., k : k + 1]
    tied = last <= next_one
    temperature = torch.where(tied, 1.0, tau * (last - next_one) + FLOOR)
    w = torch.sigmoid((s - (last + next_one) / 2) / temperature)
    w = k * w / w.sum(-1, keepdim=True)
    return torch.where(tied, torch.zeros_like(w).scatter(-1, places[..., :k], 1.0), w)
