"""Principal components: the directions of largest variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from sae.architecture import Params, Size
from sae.registry import register

from .linear import Linear, as_params, both_signs, check_components, check_rows

# Rows that are widened to float64 at once.
ROWS_AT_ONCE = 65_536


@register("pca")
@dataclass(frozen=True, kw_only=True)
class PCA(Linear):
    """f = V (x − mean), x̂ = f V + mean, with the rows of V the leading eigenvectors of the covariance, largest first.

    A width n below d keeps the n leading components (static truncation); k keeps the components that contribute most to
    each row (dynamic). With `split` V is [V; −V] and f = relu(V (x − mean)), the same function in non-negative codes.
    """

    split: Annotated[bool, "One feature for each sign of each component."] = False

    @property
    def is_positive(self) -> bool:
        return self.split

    def check_width(self, size: Size) -> None:
        check_components(size, split=self.split, name="PCA")

    def fit(self, size: Size, hyper: Mapping[str, float], generator: torch.Generator, rows: Tensor) -> Params:
        self.check(size, hyper)
        check_rows(rows, 2)
        mean, _, axes = principal_axes(rows)
        leading = axes[: size.n // 2 if self.split else size.n]
        V = both_signs(leading) if self.split else leading
        return as_params(V, V, mean)


def principal_axes(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [d], variances [d] and axes [d, d] (rows) of rows [N, d], largest variance first; float64.

    The largest entry of each axis is positive, so that the result does not depend on the solver's whims.
    """
    mean = sum((part.double().sum(0) for part in torch.split(rows, ROWS_AT_ONCE)), rows.new_zeros(())) / len(rows)
    covariance = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for part in torch.split(rows, ROWS_AT_ONCE):
        apart = part.double() - mean
        covariance += apart.T @ apart / len(rows)
    variances, columns = torch.linalg.eigh(covariance)
    axes = columns.T.flip(0)
    sign = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    return mean, variances.flip(0), axes * sign
