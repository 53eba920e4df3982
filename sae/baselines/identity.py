"""The neuron basis: every coordinate of a row is a feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from sae.architecture import Params, Size
from sae.registry import register
from sae.start import sparse_bias

from .linear import Linear, as_params, both_signs, check_rows


@register("identity")
@dataclass(frozen=True, kw_only=True)
class Identity(Linear):
    """f = x − mean with d features, of either sign; or with `split` f = relu(±(x − mean)) with 2d. Exact without k."""

    split: Annotated[bool, "One feature for each sign of each coordinate."] = False

    @property
    def is_positive(self) -> bool:
        return self.split

    def check_width(self, size: Size) -> None:
        if self.split:
            check_width(size, 2 * size.d, "identity split into signs")
        else:
            check_width(size, size.d, "identity")

    def fit(self, size: Size, hyper: Mapping[str, float], generator: torch.Generator, rows: Tensor) -> Params:
        self.check(size, hyper)
        check_rows(rows, 1)
        axes = torch.eye(size.d)
        matrix = both_signs(axes) if self.split else axes
        return as_params(matrix, matrix, rows.double().mean(0))


@register("identity_relu")
@dataclass(frozen=True, kw_only=True)
class IdentityReLU(Linear):
    """f = relu(x − mean + b_enc) with d features, x̂ = f + mean."""

    share: Annotated[float, "Share of rows on which each feature fires, set by its bias; 0 leaves biases at 0."] = 0.0

    def __post_init__(self) -> None:
        check_share(self.share)

    @property
    def is_positive(self) -> bool:
        return True

    def check_width(self, size: Size) -> None:
        check_width(size, size.d, "identity_relu")

    def fit(self, size: Size, hyper: Mapping[str, float], generator: torch.Generator, rows: Tensor) -> Params:
        self.check(size, hyper)
        check_rows(rows, 1)
        axes, mean = torch.eye(size.d), rows.double().mean(0)
        return as_params(axes, axes, mean, b_enc=biases(rows, mean, axes, self.share))


def check_width(size: Size, n: int, name: str) -> None:
    if size.n != n:
        raise ValueError(f"{name} of rows of width {size.d} has {n} features, not {size.n}; set the width to {n}")


def check_share(share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"the share of rows on which features fire must be from 0 up to 1, not {share}")


def biases(rows: Tensor, mean: Tensor, W_enc: Tensor, share: float) -> Tensor | None:
    """With which each feature fires on `share` of the rows; none for a share of 0."""
    return sparse_bias((rows - mean).to(W_enc), W_enc, share) if share else None
