"""The k largest activations of each row, exactly or by a threshold from the row's mean and spread.

Exact: Top-k Transformer (Li, You et al. 2023, arXiv 2210.06313), f = V · Topₖ(relu(Kᵀx)), after the activation.
Statistical: Spark Transformer (You et al. 2025, arXiv 2506.06644), for rows too wide to sort, in O(n):
    θ = mean(u) + std(u) · Φ⁻¹(1 − k/n), which about k of n Gaussian u exceed. So u is a pre-activation, not its relu.
"""

from __future__ import annotations

import torch
from torch import Tensor

from actpipe.errors import Misuse

# k falls (and the α of entmax rises) in this many equal steps: to torch.compile each value is a graph of its own, and
# it gives up at eight.
STAGES = 6


def exact_topk(a: Tensor, k: int) -> Tensor:
    """[..., n] → the k largest of each row (the first of equals), zero elsewhere; gradients go through those k."""
    if _keeps_all(a, k):
        return a
    largest, places = a.topk(k, dim=-1)
    return torch.zeros_like(a).scatter(-1, places, largest)


def statistical_topk(a: Tensor, k: int) -> Tensor:
    """[..., n] → a where a > θ, else zero; gradients go through what is kept and not through θ."""
    return a if _keeps_all(a, k) else torch.where(a > statistical_threshold(a, k), a, 0.0)


def shrunken_topk(a: Tensor, k: int) -> Tensor:
    """[..., n] → relu(a − θ), continuous in a, as Spark Transformer has it; gradients go through θ too."""
    return a if _keeps_all(a, k) else torch.relu(a - statistical_threshold(a, k))


def statistical_threshold(a: Tensor, k: int) -> Tensor:
    """θ [..., 1] of the module's docstring, in the type of a [..., n]; k below n."""
    n = a.shape[-1]
    wide = a if a.dtype == torch.float64 else a.float()
    std, mean = torch.std_mean(wide, dim=-1, correction=0, keepdim=True)
    place = torch.special.ndtri(torch.full((), 1 - k / n, dtype=wide.dtype, device=a.device))
    theta: Tensor = mean + std * place
    return theta.to(a.dtype)


def k_at(fraction: float, *, n: int, k: int, warmup: float) -> int:
    """How many of n are kept when `fraction` of training has passed: from all to k over its first `warmup`, in stages.

    A model is born dense and loses its units while it still learns fast; with warm-up 0 it always keeps k.
    """
    return n - round((n - k) * share_at(fraction, warmup=warmup))


def share_at(fraction: float, *, warmup: float) -> float:
    """How much of the way from the first form to the last is done: 0 to 1, in stages."""
    return 1.0 if fraction >= warmup else int(STAGES * fraction / warmup) / STAGES


def _keeps_all(a: Tensor, k: int) -> bool:
    if k < 1:
        raise Misuse(f"k must be at least 1, not {k}: no activation would be left.")
    return k >= a.shape[-1]
