"""The coder for a CPU: one product for the codes, then only what active codes touch is computed.

Exact: the same codes, sums and gradients as `Dense`, but for the order in which numbers are added. This file is what
`vmap` and autograd see: search.py finds the active codes, active.py computes with them. They are of a number that no
shape tells, so a vmapped call goes over its members one by one and keeps their lists end to end.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sae.coder import Coded, Coder, product
from sae.gates import Gate, JumpReLU

from .active import Active, Entries, Flow, Gradients, Setting, Whole
from .search import search, selected

# Share of active codes above which dense products over the features that may fire are faster than gathers, by the
# precision of those products. On a Zen 5 core they were as fast at 0.25 and 0.08 (B 2048, d 576, n 2304), and at 0.16
# and 0.05 where weights exceed the caches (B 1024, d 768, n 9216).
DENSE_FROM = 0.15
DENSE_FROM_NARROW = 0.05
# Rows from which a product in bfloat16 saves more than it costs to round the weights: at 64 nothing, at 256 a quarter.
SCREENED_FROM = 128


@dataclass(frozen=True)
class Sparse(Coder):
    """Differentiable once.

    `screened`: whether active codes are looked for in bfloat16; they are computed in float32 in any case. Left open, it
    is done where the processor multiplies bfloat16 itself. `precision` is that of the dense products at high density.
    """

    precision: torch.dtype | None = None
    screened: bool | None = None

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
        n = W_enc.shape[-2]
        if groups and sum(groups) != n:
            raise ValueError(f"the groups {groups} add up to {sum(groups)} features, not to {n}")
        if x.device.type != "cpu":
            raise ValueError(f"the coder 'sparse' computes on a CPU, and the rows are on {x.device}; use 'dense' there")
        screened = x.shape[-2] >= SCREENED_FROM and bfloat16_is_fast() if self.screened is None else self.screened
        plan = Plan(type(gate), groups or (n,), self.precision, screened and x.dtype == torch.float32)
        output, sums, firings, smallest, *_ = _Code.apply(  # type: ignore[no-untyped-call]
            plan, x, W_enc, b_enc, W_dec, power, only, *gate
        )
        return Coded(output if groups else output.squeeze(-2), sums, firings, smallest)


def most_by_entries(precision: torch.dtype | None) -> float:
    return DENSE_FROM if precision is None else DENSE_FROM_NARROW


class Plan(NamedTuple):
    """What is the same for all members, and no tensor."""

    gate: type[Gate]
    groups: tuple[int, ...]
    precision: torch.dtype | None
    screened: bool


@functools.cache
def bfloat16_is_fast() -> bool:
    """Whether the processor has instructions that multiply bfloat16 numbers.

    torch tells it of x86 only, and by names that are not promised; where they are gone, products stay in float32.
    """
    tells = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(tell()) for tell in tells if tell is not None)


class _Code(torch.autograd.Function):
    """(plan, x, W_enc, b_enc, W_dec, power, only, *gate) → (*Coded, *Kept)."""

    @staticmethod
    def forward(plan: Plan, *given: Any) -> tuple[Tensor, ...]:
        coded, active = _coded(plan, *given)
        return (*coded, *Kept.of([active]).alone())

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], *given: Any) -> tuple[Any, Any]:
        plan, *tensors = given
        coded, active = zip(*(_coded(plan, *member) for member in _members(info, in_dims[1:], tensors)), strict=True)
        kept = Kept.of(active)
        return (*map(_stacked, zip(*coded, strict=True)), *kept), (0, 0, 0, 0, *kept.out_dims)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.plan, x, _, _, W_dec, power, _, *gate = inputs
        jumps = ctx.plan.gate is JumpReLU
        ctx.mark_non_differentiable(*output[3 if jumps else 2 :])
        ctx.set_materialize_grads(False)
        ctx.n_gate = len(gate)
        ctx.save_for_backward(x, W_dec, power, *gate, *output[4:])

    @staticmethod
    def backward(ctx: Any, *flow: Tensor | None) -> tuple[Tensor | None, ...]:
        of = _Gradient.apply(ctx.plan, *flow[:3], *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        of_gate = [of[3] if len(of) > 3 else None, None][: ctx.n_gate]
        return None, None, of[0], of[1], of[2], None, None, *of_gate


class _Gradient(torch.autograd.Function):
    """(plan, *Flow, x, W_dec, power, *gate, *Kept) → Gradients, without a threshold's if there is none."""

    @staticmethod
    def forward(plan: Plan, *given: Any) -> tuple[Tensor, ...]:
        return tuple(of for of in _gradients(plan, *given) if of is not None)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], *given: Any) -> tuple[Any, Any]:
        plan, *tensors = given
        each = [_gradients(plan, *member) for member in _members(info, in_dims[1:], tensors)]
        gradients = tuple(_stacked(of) for of in zip(*each, strict=True) if of[0] is not None)
        return gradients, (0,) * len(gradients)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Nothing is kept: there is no second derivative."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("the coder 'sparse' is differentiable once; use 'dense' for second derivatives")


class Kept(NamedTuple):
    """The active codes of all members end to end, from forwards to backwards."""

    bags: Tensor
    columns: Tensor
    values: Tensor
    ends: Tensor  # int64 [M, 3, 2], where each member begins and ends in each of the three

    @classmethod
    def of(cls, active: Sequence[Active]) -> Kept:
        parts = [_packed(one) for one in active]
        lengths = torch.tensor([[len(part) for part in one] for one in parts])
        last = lengths.cumsum(0)
        bags, columns, values = (one[0] if len(one) == 1 else torch.cat(one) for one in zip(*parts, strict=True))
        return cls(bags, columns, values, torch.stack([last - lengths, last], 2))

    @property
    def out_dims(self) -> tuple[int | None, ...]:
        return None, None, None, 0

    def alone(self) -> Kept:
        return self._replace(ends=self.ends[0])

    def active(self, n_rows: int) -> Active:
        """Of the one member whose ends [3, 2] are here."""
        bags, columns, values = (part[slice(*ends)] for part, ends in zip(self[:3], self.ends.tolist(), strict=True))
        if len(bags) == len(values):
            return Entries(bags, columns, values)
        return Whole(columns, values.view(n_rows, len(columns)))


def _packed(active: Active) -> tuple[Tensor, Tensor, Tensor]:
    if isinstance(active, Entries):
        return active.bags, active.columns, active.values
    assert isinstance(active, Whole)
    return active.features.new_empty(0), active.features, active.values.reshape(-1)


def _coded(
    plan: Plan,
    x: Tensor,
    W_enc: Tensor,
    b_enc: Tensor,
    W_dec: Tensor,
    power: Tensor | None,
    only: Tensor | None,
    *of_gate: Tensor,
) -> tuple[Coded, Active]:
    gate = plan.gate(*of_gate)
    active = _active(plan, x, W_enc, b_enc, gate, only)
    return active.coded(Setting(W_dec, gate, plan.groups, power, len(x), plan.precision)), active


def _active(plan: Plan, x: Tensor, W_enc: Tensor, b_enc: Tensor, gate: Gate, only: Tensor | None) -> Active:
    n = len(W_enc)
    features = torch.arange(n, dtype=torch.int32)
    if only is not None and not bool(only.all()):
        features = only.nonzero()[:, 0].to(torch.int32)
        W_enc, b_enc = W_enc.index_select(0, features), b_enc.index_select(0, features)
        if isinstance(gate, JumpReLU):
            gate = gate._replace(threshold=gate.threshold.index_select(0, features))
        if not len(features):
            return Entries(features, features, b_enc)
    most = most_by_entries(plan.precision)
    found = search(x, W_enc, b_enc, gate, screened=plan.screened, most=most)
    if found is not None:
        columns = found.columns if len(features) == n else features.index_select(0, found.columns)
        return Entries.of(found.rows, columns, found.values, plan.groups)
    return Whole(features, selected(product(x, W_enc.mT, plan.precision).add_(b_enc), gate))


def _gradients(
    plan: Plan,
    of_output: Tensor | None,
    of_sums: Tensor | None,
    of_firings: Tensor | None,
    x: Tensor,
    W_dec: Tensor,
    power: Tensor | None,
    *rest: Tensor,
) -> Gradients:
    *of_gate, bags, columns, values, ends = rest
    flow = Flow(None if of_output is None else of_output.contiguous(), of_sums, of_firings)
    setting = Setting(W_dec, plan.gate(*of_gate), plan.groups, power, len(x), plan.precision)
    return Kept(bags, columns, values, ends).active(len(x)).gradients(x, setting, flow)


def _members(info: Any, in_dims: Sequence[int | None], given: Sequence[Tensor | None]) -> Iterator[tuple[Any, ...]]:
    """The arguments of each member of a vmapped call."""
    for i in range(info.batch_size):
        yield tuple(
            tensor if tensor is None or axis is None else tensor.select(axis, i).contiguous()
            for tensor, axis in zip(given, in_dims, strict=True)
        )


def _stacked(members: Sequence[Tensor]) -> Tensor:
    return members[0].unsqueeze(0) if len(members) == 1 else torch.stack(list(members))
