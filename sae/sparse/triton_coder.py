"""The coder for a GPU: only what codes touch is computed, by kernels written in Triton.

Exact: the same codes, sums and gradients as `Dense`, but for the order in which float32 numbers are added. This file is
what `vmap` and autograd see; triton_step.py has the arithmetic. A vmapped call is one call for all members.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sae.coder import Coded, Coder
from sae.gates import Gate, JumpReLU

if TYPE_CHECKING:
    from .triton_step import Gradients, Lists, Plan


@dataclass(frozen=True)
class Triton(Coder):
    """Needs the package triton and float32 parameters on a GPU.

    `precision` is that in which products read rows, weights and gradients; they add in float32.
    """

    precision: torch.dtype | None = None

    def __post_init__(self) -> None:
        if importlib.util.find_spec("triton") is None:
            raise ValueError("the coder 'triton' needs the package triton; install it with: pip install 'actpipe[gpu]'")

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
        from .triton_step import Plan

        _check(x, W_enc, groups)
        plan = Plan(type(gate), tuple(groups), self.precision)
        first, second = (*gate, None, None)[:2]
        coded = _Code.apply(plan, x, W_enc, b_enc, W_dec, first, second, power, only)  # type: ignore[no-untyped-call]
        return Coded(*coded[:4])


def _check(x: Tensor, W_enc: Tensor, groups: tuple[int, ...]) -> None:
    import triton

    if not (x.is_cuda or triton.knobs.runtime.interpret):
        raise ValueError(f"the coder 'triton' computes on a GPU, and the rows are on {x.device}; use 'sparse' there")
    for name, tensor in (("rows", x), ("parameters", W_enc)):
        if tensor.dtype != torch.float32:
            raise ValueError(f"the coder 'triton' takes {name} in float32, not {tensor.dtype}; use 'dense' for others")
    if groups and sum(groups) != W_enc.shape[-2]:
        raise ValueError(f"the groups {groups} add up to {sum(groups)} features, not to {W_enc.shape[-2]}")


class _Code(torch.autograd.Function):
    """(plan, x, W_enc, b_enc, W_dec, the gate's two, power, only) → Coded, then Lists."""

    @staticmethod
    def forward(plan: Plan, *given: Any) -> tuple[Tensor, ...]:
        coded, lists = _forward(plan, *(_alone(tensor) for tensor in given))
        return (*(tensor[0] for tensor in coded), *lists)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], plan: Plan, *given: Any) -> tuple[Any, Any]:
        x, *others = given
        stacked = (_stacked(t, axis, info.batch_size) for t, axis in zip(others, in_dims[2:], strict=True))
        coded, lists = _forward(plan, _shared(x, in_dims[1]), *stacked)
        # The lists run over all members: there is nothing of them to map over.
        return (*coded, *lists), (0,) * len(coded) + (None,) * len(lists)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.plan, x, _, _, W_dec, first, second, power, _ = inputs
        ctx.jumps = ctx.plan.gate is JumpReLU
        ctx.mark_non_differentiable(*output[3 if ctx.jumps else 2 :])
        ctx.save_for_backward(x, W_dec, first, second, power, *output[4:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, W_dec, first, second, power, *lists = ctx.saved_tensors
        of = _Gradient.apply(  # type: ignore[no-untyped-call]
            ctx.plan, x, W_dec, first, second, power, *grads[:3], *lists
        )
        return None, None, of[0], of[1], of[2], of[3] if ctx.jumps else None, None, None, None


class _Gradient(torch.autograd.Function):
    """(plan, x, W_dec, the gate's two, power, gradients of output, sums and firings, *Lists) → Gradients."""

    @staticmethod
    def forward(plan: Plan, *given: Any) -> tuple[Tensor, ...]:
        *stacked, segment, column, value, bounds = given
        gradients = _backward(plan, *(_alone(t) for t in stacked), segment, column, value, bounds)
        return tuple(tensor[0] for tensor in gradients)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], plan: Plan, *given: Any) -> tuple[Any, Any]:
        x, *others, segment, column, value, bounds = given
        stacked = [_stacked(t, axis, info.batch_size) for t, axis in zip(others, in_dims[2:-4], strict=True)]
        gradients = _backward(plan, _shared(x, in_dims[1]), *stacked, segment, column, value, bounds)
        return tuple(gradients), (0,) * len(gradients)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Nothing is kept: there is no second derivative."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("the coder 'triton' is differentiable once; use 'dense' for second derivatives")


def _forward(plan: Plan, *given: Any) -> tuple[Coded, Lists]:
    from .triton_step import Stack, forward

    x, W_enc, b_enc, W_dec, first, second, power, only = given
    # Kernels start on the current GPU, which need not be that of the rows.
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        return forward(plan, Stack(x, W_enc, b_enc, W_dec, _gate(plan, first, second), power, only))


def _backward(plan: Plan, *given: Any) -> Gradients:
    from .triton_step import Lists, Used, backward

    x, W_dec, first, second, power, of_output, of_sums, of_firings, *lists = given
    used = Used(x, W_dec, _gate(plan, first, second), power)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        return backward(plan, used, Lists(*lists), of_output, of_sums, of_firings)


def _gate(plan: Plan, *tensors: Tensor | None) -> Gate:
    return plan.gate(*(tensor for tensor in tensors if tensor is not None))


def _alone(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor[None]


def _stacked(tensor: Tensor | None, axis: int | None, n_members: int) -> Tensor | None:
    if tensor is None:
        return None
    return tensor.expand(n_members, *tensor.shape) if axis is None else tensor.movedim(axis, 0)


def _shared(x: Tensor, axis: int | None) -> Tensor:
    """Rows that all members read stay one batch."""
    return x[None] if axis is None else x.movedim(axis, 0)
