"""Directions that know nothing of the rows: what any set of directions gets for free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from sae.architecture import Params, Size
from sae.registry import register
from sae.start import random_directions

from .identity import biases, check_share
from .linear import Linear, as_params, check_rows


@register("random")
@dataclass(frozen=True, kw_only=True)
class Random(Linear):
    """f = relu(D (x − mean) + b_enc), x̂ = f D + mean, with n directions uniform on the sphere."""

    share: Annotated[float, "Share of rows on which each feature fires, set by its bias; 0 leaves biases at 0."] = 0.0

    def __post_init__(self) -> None:
        check_share(self.share)

    @property
    def is_positive(self) -> bool:
        return True

    def check_width(self, size: Size) -> None:
        """Any number of directions will do."""

    def fit(self, size: Size, hyper: Mapping[str, float], generator: torch.Generator, rows: Tensor) -> Params:
        self.check(size, hyper)
        check_rows(rows, 1)
        D, mean = random_directions(size.n, size.d, generator), rows.double().mean(0)
        return as_params(D, D, mean, b_enc=biases(rows, mean, D, self.share))
