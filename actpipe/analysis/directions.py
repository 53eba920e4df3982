"""What the direction of a unit says by itself: the tokens it raises and lowers, and its nearest neighbour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae.linear import linear

_ROWS = 256  # directions at a time: 256 · vocabulary floats are 50 MB for 50k tokens


class Logits(NamedTuple):
    """All [n_units, 10]: the most raised tokens, largest first, and the most lowered, most negative first."""

    top_tokens: NDArray[np.int64]
    top: NDArray[np.float32]
    bottom_tokens: NDArray[np.int64]
    bottom: NDArray[np.float32]


def logits(model: str, hook: str, directions: Tensor, keep: int = 10) -> Logits | None:
    """None where the hook has no direct path to the logits."""
    from actpipe.harvest.unembedding import logit_directions

    parts = []
    for chunk in torch.split(directions, _ROWS):
        scores = logit_directions(model, hook, chunk)
        if scores is None:
            return None
        high, low = (scores.topk(min(keep, scores.shape[1]), largest=largest) for largest in (True, False))
        parts.append([tensor.numpy() for tensor in (high.indices, high.values, low.indices, low.values)])
    return Logits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def neighbours(directions: Tensor, units: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """For each of `units` the other feature with the largest cosine, and the cosine; None in a dictionary of one."""
    if len(directions) < 2:
        return None
    directions = torch.nn.functional.normalize(directions, dim=1)
    nearest, cosines = [], []
    for chunk in torch.split(torch.from_numpy(units).to(directions.device), _ROWS):
        cosine = linear(directions[chunk], directions)
        cosine[torch.arange(len(chunk)), chunk] = -2
        best = cosine.max(dim=1)
        nearest.append(best.indices.cpu().numpy())
        cosines.append(best.values.cpu().numpy())
    return np.concatenate(nearest), np.concatenate(cosines)
