"""Codes, what is decoded from them, and the gradients of both, for M stacked members on a GPU.

Forward, with entries e = (row, column) where a code is not zero:

    outputᵣ = Σ_{e in r} fₑ W_dec[column]        sumsⱼ = Σ_{e in j} fₑ^p        firingsⱼ = Σ_{e in j} 1

Backward, with G, s, φ the gradients of output, sums and firings:

    δₑ = G[row] · W_dec[column] + s[column] · p fₑ^(p−1)
    ∂W_decⱼ = Σ_{e in j} fₑ G[row]     ∂W_encⱼ = Σ_{e in j, fired} δₑ x[row]     ∂b_encⱼ = Σ_{e in j, fired} δₑ
    ∂θⱼ = −Σ_{e in j, |uₑ − θⱼ| < ε/2} (θⱼ δₑ + φⱼ) / ε          (a JumpReLU's; gates.py)

Entries of a JumpReLU's window that did not fire are in the lists with f = 0. Legend as in triton_entries.py, and G
groups, `out` width of what is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sae.coder import Coded, powers
from sae.gates import Gate, JumpReLU

from .triton_entries import Entries, entries
from .triton_gather import dots, gathered_sum


@dataclass(frozen=True)
class Plan:
    """What is the same for all members and no tensor."""

    gate: type[Gate]
    groups: tuple[int, ...]
    precision: torch.dtype | None  # in which x, weights and gradients are read by products


class Lists(NamedTuple):
    """The entries by column, then by row: what a backward step needs to know of the forward one."""

    segment: Tensor  # [N] int64: row · G + group of the column
    column: Tensor  # [N] int64, below M · n
    value: Tensor  # [N] float32, u
    bounds: Tensor  # [M · n + 1] int64: where each column begins


class Stack(NamedTuple):
    """The arguments of a coder with an axis of members in front; that of x may be 1."""

    x: Tensor  # [1 or M, B, d]
    W_enc: Tensor  # [M, n, d]
    b_enc: Tensor  # [M, n]
    W_dec: Tensor  # [M, n, out]
    gate: Gate
    power: Tensor | None  # [M]
    only: Tensor | None  # [M, n] bool


class Used(NamedTuple):
    """What of a stack the gradients need."""

    x: Tensor
    W_dec: Tensor
    gate: Gate
    power: Tensor | None


class Gradients(NamedTuple):
    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    threshold: Tensor  # [M, n]; zero but for a JumpReLU


def forward(plan: Plan, given: Stack) -> tuple[Coded, Lists]:
    n_members, n, out = given.W_dec.shape
    n_rows = given.x.shape[1]
    n_groups = max(1, len(plan.groups))
    found = entries(given.x, given.W_enc, given.b_enc, gate=given.gate, only=given.only, precision=plan.precision)
    fired, codes = _codes(found.column, found.value, given.gate)
    segment = _segments(found, plan, n)
    output = gathered_sum(
        _flat(given.W_dec, plan), found.column, codes, bounds=_bounds(segment, n_members * n_rows * n_groups)
    )
    order = found.column.int().sort(stable=True).indices
    column = found.column[order]
    lists = Lists(segment[order], column, found.value[order], _bounds(column, n_members * n))
    powered = codes if given.power is None else powers(codes, given.power[found.column // n])
    sums, firings = _by_column(torch.stack([powered, fired.float()], 1), order, lists.bounds).unbind(1)
    shape = (n_members, n_rows, len(plan.groups), out) if plan.groups else (n_members, n_rows, out)
    coded = Coded(
        output.view(shape),
        sums.view(n_members, n),
        firings.view(n_members, n),
        _least(codes, found.row, n_members, n_rows),
    )
    return coded, lists


def backward(plan: Plan, used: Used, lists: Lists, of_output: Tensor, of_sums: Tensor, of_firings: Tensor) -> Gradients:
    """Of the gradients of output, sums and firings, each with an axis of members in front."""
    n_members, n, out = used.W_dec.shape
    if len(lists.bounds) != n_members * n + 1:
        raise ValueError("gradients of the coder 'triton' are taken under the vmap that it was called under, no other")
    member = lists.column // n
    fired, codes = _codes(lists.column, lists.value, used.gate)
    of_rows = _flat(of_output, plan).contiguous()
    of_sums = of_sums.reshape(-1)[lists.column]
    if used.power is not None:
        of_sums = of_sums * _slope(codes, used.power[member])
    of_codes = dots(of_rows, lists.segment, _flat(used.W_dec, plan), lists.column) + of_sums
    of_u = torch.where(fired, of_codes, 0.0)
    of_threshold = _of_threshold(used.gate, lists, of_codes, of_firings, member)
    each = torch.arange(len(of_u), device=of_u.device)
    of_bias, of_threshold = _by_column(torch.stack([of_u, of_threshold], 1), each, lists.bounds).unbind(1)
    x = _flat(used.x, plan)
    row = lists.segment // max(1, len(plan.groups)) % len(x)
    return Gradients(
        gathered_sum(x, row, of_u, bounds=lists.bounds).view(n_members, n, -1),
        of_bias.view(n_members, n),
        gathered_sum(of_rows, lists.segment, codes, bounds=lists.bounds).view(n_members, n, out),
        of_threshold.view(n_members, n),
    )


def _codes(column: Tensor, value: Tensor, gate: Gate) -> tuple[Tensor, Tensor]:
    """Which entries fired, and their codes. NaN did: what diverges is to be seen in the output."""
    if not isinstance(gate, JumpReLU):
        return torch.ones_like(value, dtype=torch.bool), value
    fired = ~(value <= gate.threshold.reshape(-1)[column])
    return fired, torch.where(fired, value, 0.0)


def _of_threshold(gate: Gate, lists: Lists, of_codes: Tensor, of_firings: Tensor, member: Tensor) -> Tensor:
    if not isinstance(gate, JumpReLU):
        return torch.zeros_like(of_codes)
    threshold, width = gate.threshold.reshape(-1)[lists.column], gate.bandwidth[member]
    near = (lists.value - threshold).abs() < width / 2
    return -(near * (of_codes * threshold + of_firings.reshape(-1)[lists.column])) / width


def _slope(codes: Tensor, power: Tensor) -> Tensor:
    """Of f^p, and zero where there is no code."""
    active = codes > 0
    return torch.where(active, power * torch.where(active, codes, 1.0) ** (power - 1), 0.0)


def _segments(found: Entries, plan: Plan, n: int) -> Tensor:
    if not plan.groups:
        return found.row
    ends = torch.tensor(plan.groups, device=found.row.device).cumsum(0)
    return found.row * len(plan.groups) + torch.bucketize(found.column % n, ends, right=True)


def _bounds(ascending: Tensor, n_segments: int) -> Tensor:
    return torch.searchsorted(ascending, torch.arange(n_segments + 1, device=ascending.device))


def _by_column(values: Tensor, index: Tensor, bounds: Tensor) -> Tensor:
    """[M · n, ·] sums of values [N, ·] in the order of `index`."""
    return gathered_sum(values, index, torch.ones_like(values[:, 0]), bounds=bounds)


def _least(codes: Tensor, row: Tensor, n_members: int, n_rows: int) -> Tensor:
    # By rows first: a minimum over a whole member into one number would queue at its address.
    positive = torch.where(codes > 0, codes, torch.inf)
    of_rows = torch.full((n_members * n_rows,), torch.inf, device=codes.device).scatter_reduce(0, row, positive, "amin")
    return of_rows.view(n_members, n_rows).amin(1)


def _flat(stacked: Tensor, plan: Plan) -> Tensor:
    flat = stacked.reshape(-1, stacked.shape[-1])
    return flat if plan.precision is None else flat.to(plan.precision)
