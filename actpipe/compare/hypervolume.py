"""The volume of what an arm offers: loss, sparsity and score at once, beyond a reference that everything reaches.

    HV = volume of ∪ᵢ [0, xᵢ] × [0, yᵢ] × [0, zᵢ]
    x = CE_max − CE,   y = log₂ L0_max − log₂ L0_eff,   z = score above control

over the levels i of an arm, by a sweep: sorted by z, each slice between two levels of z has the area of the union of
the rectangles of the levels above it. Exact; levels that are beyond the reference in any direction add nothing.

Shapes: B replicates, n levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from actpipe.analysis.statistics.strata import Floats

from .coordinates import Coordinates

# The reference lies so far beyond the worst level, so that this level counts too. Heuristic; not tuned.
MARGIN = 0.1  # of the range of the levels, and at least
LEAST = (0.1, 0.5)  # nats, and octaves of L0_eff


def hypervolume(x: Floats, y: Floats, z: Floats) -> Floats:
    """[B] from [B, n] each; NaN where a score is."""
    inside = (x > 0) & (y > 0) & (z > 0)
    x, y, z = (np.where(inside | np.isnan(z), each, 0.0) for each in (x, y, z))
    order = np.argsort(-z, axis=1)
    x, y, z = (np.take_along_axis(each, order, axis=1) for each in (x, y, z))
    below = np.concatenate([z[:, 1:], np.zeros((len(z), 1))], axis=1)
    total = np.zeros(len(z))
    for i in range(z.shape[1]):
        total += (z[:, i] - below[:, i]) * _area(x[:, : i + 1], y[:, : i + 1])
    return total


def _area(x: Floats, y: Floats) -> Floats:
    """[B] of the union of rectangles from the origin."""
    order = np.argsort(-x, axis=1)
    x, y = (np.take_along_axis(each, order, axis=1) for each in (x, y))
    step = x - np.concatenate([x[:, 1:], np.zeros((len(x), 1))], axis=1)
    area: Floats = (step * np.maximum.accumulate(y, axis=1)).sum(axis=1)
    return area


class Reference(NamedTuple):
    """(CE_max, log₂ L0_max). In each replicate both move with the mean of all levels: what all arms have in common,
    such as harder documents, is no difference between them."""

    loss: float
    log_l0: float
    losses: Floats  # [B]
    log_l0s: Floats


def reference(found: Sequence[Coordinates]) -> Reference:
    losses, l0s = [each.loss for each in found], [each.log_l0 for each in found]
    ends = [
        max(values) + max(MARGIN * (max(values) - min(values)), least)
        for values, least in zip((losses, l0s), LEAST, strict=True)
    ]
    moved = [np.mean([each.losses - each.loss for each in found], axis=0),
             np.mean([each.log_l0s - each.log_l0 for each in found], axis=0)]  # fmt: skip
    return Reference(ends[0], ends[1], ends[0] + moved[0], ends[1] + moved[1])
