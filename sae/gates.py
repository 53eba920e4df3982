"""Which pre-activations become codes. A gate is a tuple of tensors, so that `vmap` can stack it."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from torch import Tensor


class ReLU(NamedTuple):
    """f = max(u, 0)."""


class TopK(NamedTuple):
    """f = max(u, 0) for the k largest u of each row, else 0."""

    k: Tensor  # 0-d


class BatchTopK(NamedTuple):
    """f = max(u, 0) for the B · k largest u of the whole batch, else 0."""

    k: Tensor  # 0-d


class JumpReLU(NamedTuple):
    """f = u where u > θ, else 0; θ learns through windows of the given width around it (Rajamanoharan et al. 2024).

    With the rectangle K(z) = 1 where |z| < ½ and ε the bandwidth, pretended derivatives:
    ∂f/∂θ = −θ/ε · K((u − θ)/ε)        ∂firing/∂θ = −1/ε · K((u − θ)/ε)
    """

    threshold: Tensor  # [n], positive
    bandwidth: Tensor  # 0-d


Gate: TypeAlias = ReLU | TopK | BatchTopK | JumpReLU
