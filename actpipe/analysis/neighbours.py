"""The units whose directions are nearest: what a unit is most easily confused with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from sae.linear import linear

KEEP = 32
_ENTRIES = 1 << 24  # of a block of cosines: 64 MiB in float32 for any number of units


class Nearest(NamedTuple):
    """k others of each unit, nearest first; k is smaller than asked for where there are fewer others."""

    unit: NDArray[np.int32]  # [n, k]
    cosine: NDArray[np.float32]  # [n, k]


@torch.inference_mode()
def nearest_directions(directions: Tensor, *, keep: int = KEEP, of: NDArray[np.int64] | None = None) -> Nearest:
    """For each row of `directions` [n, d] the others with the largest cosines, in blocks: n² d multiplications.

    A direction of length zero has cosine 0 with everything. The two halves of a signed source are opposite, and so
    never near. `of`: numbers of the units asked for, in place of all.
    """
    lengths_one = normalize(directions.float(), dim=1)
    n = len(lengths_one)
    keep = max(0, min(keep, n - 1))
    units, cosines = [], []
    rows = torch.arange(n) if of is None else torch.from_numpy(of)
    for chunk in torch.split(rows, max(1, _ENTRIES // max(n, 1))):
        block = linear(lengths_one[chunk], lengths_one)
        block[torch.arange(len(chunk)), chunk] = -2  # not its own neighbour
        best = block.topk(keep, dim=1)
        units.append(best.indices.to("cpu", torch.int32).numpy())
        cosines.append(best.values.cpu().numpy())
    return Nearest(np.concatenate(units), np.concatenate(cosines))
