"""Rows kept at length 1: gradients lose the part along the row, and rows are normalised after the step.

Without the projection Adam's moments would be fed by a part of the gradient that normalising takes back
(Bricken et al. 2023, appendix).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .architecture import Params


def projected(grads: Params, params: Params, names: Sequence[str]) -> Params:
    """g − (g · w) w for the rows w [..., d] of length 1 of the named parameters."""
    along = {name: torch.linalg.vecdot(grads[name], params[name])[..., None] for name in names}
    return {name: torch.addcmul(grads[name], along[name], params[name], value=-1.0) for name in names}


def normalise(params: Params, names: Sequence[str], *, skip: Tensor) -> None:
    """w ← w / ‖w‖ for the rows of the named parameters [members, n, d], in place.

    Members that `skip` [members] names keep their bits, and so does a row of zeros.
    """
    for name in names:
        length = params[name].norm(dim=-1, keepdim=True)
        kept = skip.view(-1, *[1] * (length.ndim - 1)) | (length == 0)
        params[name].div_(torch.where(kept, 1.0, length))
