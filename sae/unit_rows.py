"""Rows kept at length 1: gradients lose the part along the row, and rows are normalised after the step.

Without the projection Adam's moments would be fed by a part of the gradient that normalising takes back
(Bricken et al. 2023, appendix; in later code "remove gradient parallel to decoder directions").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .architecture import Params


def projected(grads: Params, params: Params, names: Sequence[str]) -> Params:
    """g − (g · w) w / ‖w‖² for the rows [..., d] of the named parameters."""
    return {name: _off(grads[name], params[name]) for name in names}


def normalised(params: Params, names: Sequence[str]) -> Params:
    """The named parameters with rows of length 1; a row of zeros stays."""
    return {name: params[name] / _positive(params[name].norm(dim=-1, keepdim=True)) for name in names}


def _off(g: Tensor, w: Tensor) -> Tensor:
    along = (g * w).sum(-1, keepdim=True) / _positive(w.square().sum(-1, keepdim=True))
    return g - along * w


def _positive(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 1.0)
