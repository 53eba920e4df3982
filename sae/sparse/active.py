"""What a gate let through, and what follows from it: the decoded rows, the sums and, backwards, all gradients.

`Entries` lists active codes one by one and touches nothing else. `Whole` is a matrix of codes over some features,
which is faster where many are active. Both have the arithmetic of `sae.coder.Dense`. With G groups, (row, group) is one
bag of entries, numbered row · G + group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from sae.coder import Coded, powers, product
from sae.gates import Gate, JumpReLU

from .gather import bag_sums, row_dots, starts


class Setting(NamedTuple):
    """What one member is given besides its rows and its encoder; the same forwards and backwards."""

    W_dec: Tensor  # [n, out]
    gate: Gate
    groups: tuple[int, ...]  # never empty; adds up to n
    power: Tensor | None  # 0-d
    n_rows: int
    precision: torch.dtype | None  # of dense products; those at entries keep the dtype of the parameters


class Flow(NamedTuple):
    """Gradients that arrive; None where nothing depends on it."""

    output: Tensor | None  # [B, G, out]
    sums: Tensor | None  # [n]
    firings: Tensor | None  # [n]


class Gradients(NamedTuple):
    W_enc: Tensor  # [n, d]
    b_enc: Tensor  # [n]
    W_dec: Tensor  # [n, out]
    threshold: Tensor | None  # [n], of a JumpReLU


class Active(ABC):
    @abstractmethod
    def coded(self, setting: Setting) -> Coded:
        """With an output of shape [B, G, out]."""

    @abstractmethod
    def gradients(self, x: Tensor, setting: Setting, flow: Flow) -> Gradients: ...


@dataclass(frozen=True)
class Entries(Active):
    bags: Tensor  # int32 [z], ascending
    columns: Tensor  # int32 [z], ascending within a bag
    values: Tensor  # [z], pre-activations; for a JumpReLU also those in the window below its threshold

    @classmethod
    def of(cls, rows: Tensor, columns: Tensor, values: Tensor, groups: tuple[int, ...]) -> Entries:
        if len(groups) == 1:
            return cls(rows, columns, values)
        sizes = torch.tensor(groups)
        group = torch.arange(len(groups), dtype=torch.int32).repeat_interleave(sizes).index_select(0, columns)
        return cls(rows * len(groups) + group, columns, values)

    def coded(self, setting: Setting) -> Coded:
        n, out = setting.W_dec.shape
        n_bags = setting.n_rows * len(setting.groups)
        shape = (setting.n_rows, len(setting.groups), out)
        if not len(self.values):
            nothing = setting.W_dec.new_zeros(n)
            none = setting.W_dec.new_tensor(torch.inf)
            return Coded(setting.W_dec.new_zeros(shape), nothing, nothing.clone(), none)
        codes, fired = self._codes(setting.gate)
        output = bag_sums(codes, self.columns, starts(self.bags, n_bags), setting.W_dec)
        sums = by_feature(codes if setting.power is None else powers(codes, setting.power), self.columns, n)
        firings = torch.bincount(self.columns if fired is None else self.columns[fired], minlength=n)
        return Coded(output.view(shape), sums, firings.to(codes.dtype), least(codes))

    def gradients(self, x: Tensor, setting: Setting, flow: Flow) -> Gradients:
        n, out = setting.W_dec.shape
        jumps = isinstance(setting.gate, JumpReLU)
        if not len(self.values):
            of_bias = setting.W_dec.new_zeros(n)
            of_rows = setting.W_dec.new_zeros(()).expand(n, x.shape[1]), setting.W_dec.new_zeros(()).expand(n, out)
            return Gradients(of_rows[0], of_bias, of_rows[1], of_bias.clone() if jumps else None)
        codes, fired = self._codes(setting.gate)
        of_codes = self.of_codes(codes, setting, flow)
        of_threshold = None
        if isinstance(setting.gate, JumpReLU):
            of_threshold = self._of_threshold(of_codes, setting.gate, flow)
        if fired is not None:
            of_codes = torch.where(fired, of_codes, 0.0)
        order = self.columns.sort(stable=True)
        first = starts(order.values, n)
        bags = self.bags.index_select(0, order.indices)
        of_W_dec = (
            torch.zeros_like(setting.W_dec)
            if flow.output is None
            else bag_sums(codes.index_select(0, order.indices), bags, first, flow.output.flatten(0, 1))
        )
        rows = bags if len(setting.groups) == 1 else bags.div(len(setting.groups), rounding_mode="floor")
        of_W_enc = bag_sums(of_codes.index_select(0, order.indices), rows, first, x)
        return Gradients(of_W_enc, by_feature(of_codes, self.columns, n), of_W_dec, of_threshold)

    def _codes(self, gate: Gate) -> tuple[Tensor, Tensor | None]:
        """Codes [z], and which of them fire; None if all do."""
        if not isinstance(gate, JumpReLU):
            return self.values, None
        fired = self.values > gate.threshold.index_select(0, self.columns)
        return torch.where(fired, self.values, 0.0), fired

    def of_codes(self, codes: Tensor, setting: Setting, flow: Flow) -> Tensor:
        if flow.output is None:
            of_codes = torch.zeros_like(codes)
        else:
            of_codes = row_dots(flow.output.flatten(0, 1), setting.W_dec, self.bags, self.columns)
        if flow.sums is not None:
            of_sums = flow.sums.index_select(0, self.columns)
            of_codes += of_sums if setting.power is None else of_sums * power_slope(codes, setting.power)
        return of_codes

    def _of_threshold(self, of_codes: Tensor, gate: JumpReLU, flow: Flow) -> Tensor:
        threshold = gate.threshold.index_select(0, self.columns)
        near = (self.values - threshold).abs() < gate.bandwidth / 2
        pull = of_codes * threshold
        if flow.firings is not None:
            pull += flow.firings.index_select(0, self.columns)
        return -by_feature(torch.where(near, pull, 0.0), self.columns, len(gate.threshold)) / gate.bandwidth


@dataclass(frozen=True)
class Whole(Active):
    features: Tensor  # int32 [m], ascending; all others are silent
    values: Tensor  # [B, m], codes; for a JumpReLU pre-activations

    def coded(self, setting: Setting) -> Coded:
        n = len(setting.W_dec)
        codes, fired = self._codes(setting.gate)
        weights = self._mine(setting.W_dec)
        parts = [product(codes[:, part], weights[part], setting.precision) for part in self._parts(setting.groups)]
        output = parts[0][:, None] if len(parts) == 1 else torch.stack(parts, 1)
        sums = (codes if setting.power is None else powers(codes, setting.power)).sum(0)
        return Coded(output, self._spread(sums, n), self._spread(fired.sum(0, dtype=codes.dtype), n), least(codes))

    def gradients(self, x: Tensor, setting: Setting, flow: Flow) -> Gradients:
        n = len(setting.W_dec)
        codes, fired = self._codes(setting.gate)
        weights = self._mine(setting.W_dec)
        if flow.output is None:
            of_codes, of_W_dec = torch.zeros_like(codes), torch.zeros_like(weights)
        else:
            parts = list(zip(self._parts(setting.groups), flow.output.unbind(1), strict=True))
            of_codes = _beside([product(of, weights[part].mT, setting.precision) for part, of in parts], 1)
            of_W_dec = _beside([product(codes[:, part].mT, of, setting.precision) for part, of in parts], 0)
        if flow.sums is not None:
            of_sums = self._mine(flow.sums)
            of_codes += of_sums if setting.power is None else of_sums * power_slope(codes, setting.power)
        of_threshold = None
        if isinstance(setting.gate, JumpReLU):
            of_threshold = self._spread(self._of_threshold(of_codes, setting.gate, flow), n)
        of_u = of_codes.mul_(fired)
        of_W_enc = product(of_u.mT, x, setting.precision)
        return Gradients(
            self._spread(of_W_enc, n), self._spread(of_u.sum(0), n), self._spread(of_W_dec, n), of_threshold
        )

    def _codes(self, gate: Gate) -> tuple[Tensor, Tensor]:
        if not isinstance(gate, JumpReLU):
            return self.values, self.values > 0
        fired = self.values > self._mine(gate.threshold)
        return torch.where(fired, self.values, 0.0), fired

    def _of_threshold(self, of_codes: Tensor, gate: JumpReLU, flow: Flow) -> Tensor:
        threshold = self._mine(gate.threshold)
        near = (self.values - threshold).abs() < gate.bandwidth / 2
        of_firings = 0.0 if flow.firings is None else self._mine(flow.firings)
        return -torch.where(near, of_codes * threshold + of_firings, 0.0).sum(0) / gate.bandwidth

    def _parts(self, groups: tuple[int, ...]) -> list[slice]:
        """Which of my features each group has."""
        ends = torch.searchsorted(self.features, torch.tensor([0, *accumulate(groups)], dtype=torch.int32)).tolist()
        return list(map(slice, ends[:-1], ends[1:]))

    def _mine(self, rows: Tensor) -> Tensor:
        return rows if len(self.features) == len(rows) else rows.index_select(0, self.features)

    def _spread(self, mine: Tensor, n: int) -> Tensor:
        if len(mine) == n:
            return mine
        return mine.new_zeros(n, *mine.shape[1:]).index_copy_(0, self.features.long(), mine)


def _beside(parts: list[Tensor], axis: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


def by_feature(values: Tensor, columns: Tensor, n: int) -> Tensor:
    """Σ of the values in each column: [n]."""
    return values.new_zeros(n).index_add_(0, columns, values)


def power_slope(codes: Tensor, power: Tensor) -> Tensor:
    """d f^p / df, and 0 where f is."""
    active = codes > 0
    return torch.where(active, power * torch.where(active, codes, 1.0) ** (power - 1), 0.0)


def least(codes: Tensor) -> Tensor:
    # In parts, because a temporary as large as a matrix of codes would be new memory each time.
    parts = torch.split(codes, max(1, 2**20 // codes[0].numel()))
    return torch.stack([torch.where(part > 0, part, torch.inf).amin() for part in parts]).amin()
