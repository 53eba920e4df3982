"""Pre-activations u = x Wᵀ + b by blocks of rows: where they may be large, and their values there.

`Plain` multiplies in the dtype of x. `Screen` multiplies in bfloat16, which many processors do several times faster,
and gets an upper bound of each u: what the bound lets through is computed again in float32, so nothing is lost.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from .gather import row_dots

# Largest relative error of rounding to bfloat16 and to float32; their significands have 8 and 24 bits.
UNIT_BFLOAT16 = 2.0**-9
UNIT_FLOAT32 = 2.0**-24
# Squares of numbers below this are lost in float32, so that is what each can be missing from a norm.
LEAST_SQUARED = 2.0**-63
# Chunk maxima for each of the k largest of a row; with k of m chunks marked, m ln(m / (m − k)) entries are expected at
# the least of the marks: 1.15 k.
CHUNKS_PER_K = 4
LARGEST_CHUNK = 16


class Product(ABC):
    """Of x [B, d] and W [n, d]; nothing below `lowest` [n] or 0-d is asked for. One block of rows at a time."""

    exact: bool  # everything that `reaching` marks has u ≥ lowest
    room: Tensor | None = None  # [rows of a block, n]

    def __init__(self, x: Tensor, W: Tensor, b: Tensor, lowest: Tensor) -> None:
        self.x, self.W, self.b, self.lowest = x, W, b, lowest

    @abstractmethod
    def multiply(self, start: int, stop: int) -> None:
        """Turn to rows start … stop; the methods below speak of them."""

    @abstractmethod
    def reaching(self) -> Tensor:
        """Where u may be ≥ lowest: bool [rows, n], true wherever it is."""

    @abstractmethod
    def reaching_largest(self, k: int) -> Tensor:
        """Where u may be among the k largest of its row and ≥ lowest, 0-d and positive; if `marks_pay(n, k)`."""

    @abstractmethod
    def values(self, flat: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """u [z] in the dtype of x at places of the block, `flat` = rows · n + columns, ascending."""

    def _room(self, n_rows: int, dtype: torch.dtype) -> Tensor:
        if self.room is None or len(self.room) != n_rows:
            self.room = torch.empty(n_rows, len(self.W), dtype=dtype)
        return self.room


class Plain(Product):
    exact = True

    def multiply(self, start: int, stop: int) -> None:
        self.u = torch.addmm(self.b, self.x[start:stop], self.W.mT, out=self._room(stop - start, self.x.dtype))

    def reaching(self) -> Tensor:
        return self.u >= self.lowest

    def reaching_largest(self, k: int) -> Tensor:
        return self.u >= torch.maximum(marks(self.u, k), self.lowest)

    def values(self, flat: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return self.u.view(-1).index_select(0, flat)


class Screen(Product):
    """|u − x̃ · w̃ − b| ≤ ‖x − x̃‖ ‖w‖ + ‖x̃‖ (‖w − w̃‖ + γ ‖w‖), where x̃ and w̃ are rounded to bfloat16 (Cauchy and Schwarz)
    and γ is what sums in float32 and the bias can lose. Bound and bias ride along as four more columns of the product:

        upper = x̃ · w̃  +  ‖x − x̃‖ · ‖w‖  +  ‖x̃‖ · (‖w − w̃‖ + γ ‖w‖)  +  (b − lowest), as the sum of two bfloat16 numbers
    """

    exact = False

    def __init__(self, x: Tensor, W: Tensor, b: Tensor, lowest: Tensor) -> None:
        super().__init__(x, W, b, lowest)
        rows, of_rows = _narrowed(x)
        weights, of_weights = _narrowed(W)
        # Twice what the analysis of summation allows, and twice what two roundings leave of the bias: where that
        # decides, the bias is hardly longer than the product.
        gamma = 2 * (x.shape[1] + 4) * UNIT_FLOAT32 + 2 * UNIT_BFLOAT16**2
        error_x = _up(torch.stack([of_rows.lost, of_rows.norm + of_rows.lost], 1))
        error_w = _up(torch.stack([of_weights.norm, of_weights.lost + gamma * of_weights.norm], 1))
        bias = b - lowest
        high = bias.to(torch.bfloat16)
        low = (bias - high).to(torch.bfloat16)
        self.rows = torch.cat([rows, error_x, torch.ones_like(error_x)], 1)
        self.weights = torch.cat([weights, error_w, torch.stack([high, low], 1)], 1)
        # upper − (u − lowest) is at most twice the bound, which has been rounded up.
        self.slack = 2 * (error_x.float() @ error_w.float().amax(0))[:, None]  # [B, 1]

    def multiply(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        room = self._room(stop - start, torch.bfloat16)
        self.upper = torch.mm(self.rows[start:stop], self.weights.mT, out=room)

    def reaching(self) -> Tensor:
        # Rounding to bfloat16 keeps order, and bfloat16 numbers that are not negative are ordered like their bits,
        # which are compared several times faster.
        return self.upper.view(torch.int16) >= 0

    def reaching_largest(self, k: int) -> Tensor:
        mark = marks(self.upper, k).float()
        # k entries have an upper bound that was rounded to `mark` or more, so their u are at least the following.
        bound = mark - mark.abs() * 2 * UNIT_BFLOAT16 - self.slack[self.start : self.stop]
        return self.upper.view(torch.int16) >= bound.clamp(min=0).to(torch.bfloat16).view(torch.int16)

    def values(self, flat: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return row_dots(self.x[self.start : self.stop], self.W, rows, columns) + self.b.index_select(0, columns)


def marks(u: Tensor, k: int) -> Tensor:
    """A lower bound [rows, 1] of the k-th largest of each row, and seldom much below it.

    It is the k-th largest of the maxima of chunks, which are columns at equal distances.
    """
    chunk = _chunk(u.shape[1], k)
    n_chunks = u.shape[1] // chunk
    maxima = u[:, : chunk * n_chunks].view(len(u), chunk, n_chunks).amax(1)
    return maxima.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)


def marks_pay(n: int, k: int) -> bool:
    """Whether chunks have two columns or more. Many positive pre-activations are among so large a k anyway."""
    return _chunk(n, k) > 1


def _chunk(n: int, k: int) -> int:
    return min(LARGEST_CHUNK, n // (CHUNKS_PER_K * k))


class _Lengths(NamedTuple):
    norm: Tensor  # [rows]
    lost: Tensor  # [rows], length of what rounding to bfloat16 took away


def _narrowed(rows: Tensor) -> tuple[Tensor, _Lengths]:
    narrow = rows.to(torch.bfloat16)
    lost = LEAST_SQUARED * math.sqrt(rows.shape[1])
    return narrow, _Lengths(rows.norm(dim=1) + lost, (rows - narrow).norm(dim=1) + lost)


def _up(bound: Tensor) -> Tensor:
    """To bfloat16, never downwards."""
    return (bound * (1 + 2 * UNIT_BFLOAT16)).to(torch.bfloat16)
