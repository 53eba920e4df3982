"""Rows → codes → what is decoded from them: the one piece of arithmetic that most architectures share.

    u = x W_encᵀ + b_enc        f = gate(u)        output = f W_dec

Codes are zero almost everywhere, and where they are zero no gradient flows. So the codes themselves are never returned:
a coder gives what losses are made of, and one that computes only where codes are active is free to.
`Dense` is plain autograd over [B, n] matrices: the reference that every other coder is tested against, and the fastest
where codes are many or matrices small.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .gates import BatchTopK, Gate, JumpReLU, ReLU, TopK


class Coded(NamedTuple):
    output: Tensor  # [B, out]; with groups [B, groups, out], what each group of features contributes
    sums: Tensor  # [n], Σ over rows of f^power
    firings: Tensor  # [n], rows on which each feature fires; differentiable in a JumpReLU's threshold only
    least: Tensor  # 0-d, the smallest positive code of the batch, infinity if there is none; not differentiable


class Coder(ABC):
    @abstractmethod
    def __call__(
        self,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        gate: Gate,
        *,
        groups: tuple[int, ...] = (),
        power: Tensor | None = None,
        only: Tensor | None = None,
    ) -> Coded:
        """x [B, d] (needs no gradient), W_enc [n, d], b_enc [n], W_dec [n, out] of one member.

        `groups`: sizes that add up to n; neighbouring features are decoded apart. `power` 0-d: the exponent of `sums`,
        1 if absent. `only` [n] bool: features that may fire; the gate chooses among these alone.
        Differentiable once in W_enc, b_enc, W_dec and a JumpReLU's threshold, and under `vmap`.
        """


@dataclass(frozen=True)
class Dense(Coder):
    """Plain torch. `precision` is that of the matrix products; sums and parameters keep their own."""

    precision: torch.dtype | None = None

    def __call__(
        self,
        x: Tensor,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        gate: Gate,
        *,
        groups: tuple[int, ...] = (),
        power: Tensor | None = None,
        only: Tensor | None = None,
    ) -> Coded:
        u = product(x, W_enc.mT, self.precision) + b_enc
        if only is not None:
            u = torch.where(only, u, -torch.inf)
        codes, firings = gated(u, gate)
        if groups:
            parts = zip(torch.split(codes, list(groups), -1), torch.split(W_dec, list(groups), -2), strict=True)
            output = torch.stack([product(f, w, self.precision) for f, w in parts], dim=-2)
        else:
            output = product(codes, W_dec, self.precision)
        sums = codes.sum(-2) if power is None else powers(codes, power).sum(-2)
        least = torch.where(codes > 0, codes, torch.inf).detach().amin()
        return Coded(output, sums, firings, least)


def product(a: Tensor, b: Tensor, precision: torch.dtype | None) -> Tensor:
    """a @ b in the given precision, in the dtype of a."""
    if precision is None:
        return a @ b
    return (a.to(precision) @ b.to(precision)).to(a.dtype)


def gated(u: Tensor, gate: Gate) -> tuple[Tensor, Tensor]:
    """Codes [..., B, n] of pre-activations, and how many rows fire each feature [..., n]."""
    if isinstance(gate, JumpReLU):
        codes, fired = _Jump.apply(u, gate.threshold, gate.bandwidth)  # type: ignore[no-untyped-call]
        return codes, fired.sum(-2)
    positive = torch.relu(u)
    if isinstance(gate, TopK):
        codes = torch.where(rank(u) < gate.k, positive, 0.0)
    elif isinstance(gate, BatchTopK):
        largest = u.flatten(-2).sort(dim=-1, descending=True).values
        last = wanted_of_batch(gate.k, u.shape[-2], u.shape[-1]) - 1
        codes = torch.where(u < largest.gather(-1, last[..., None])[..., None], 0.0, positive)  # NaN shows
    else:
        codes = positive
    return codes, (codes > 0).detach().sum(-2, dtype=u.dtype)


def wanted_of_batch(k: Tensor, n_rows: int, n: int) -> Tensor:
    """How many of the B · n codes a BatchTopK lets through: int64, 0-d.

    Rounded, and in float64, because B · k is seldom whole to the last bit: 2.3 · 100 is 229.99999…
    """
    return (k.double() * n_rows).round().long().clamp(1, n_rows * n)


def rank(u: Tensor) -> Tensor:
    """The place of each entry within its row, 0 for the largest; the earlier of equals comes first."""
    order = u.sort(dim=-1, descending=True, stable=True).indices
    places = torch.arange(u.shape[-1], device=u.device).expand_as(order)
    return torch.zeros_like(order).scatter(-1, order, places)


def powers(codes: Tensor, power: Tensor) -> Tensor:
    """f^p, and 0 where f is 0 or negative."""
    # The derivative of f^p at 0 is infinite for p < 1; a code of zero is to have none.
    active = codes > 0
    return torch.where(active, torch.where(active, codes, 1.0) ** power, 0.0)


class _Jump(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, threshold: Tensor, bandwidth: Tensor) -> tuple[Tensor, Tensor]:
        fired = u > threshold
        return torch.where(fired, u, 0.0), fired.to(u.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        of_codes, of_fired = grads
        u, threshold, bandwidth = ctx.saved_tensors
        near = ((u - threshold).abs() < bandwidth / 2) / bandwidth
        of_u = torch.where(u > threshold, of_codes, 0.0)
        of_threshold = -(near * (of_codes * threshold + of_fired)).sum(-2)
        return of_u, of_threshold, None


__all__ = ["Coded", "Coder", "Dense", "ReLU", "gated", "rank"]
