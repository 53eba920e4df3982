"""Rows of hypervolumes.parquet: what two arms offer in loss, sparsity and a score above its control, held together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from actpipe.analysis.statistics.intervals import expanded, percentile
from actpipe.analysis.statistics.strata import Floats

from .coordinates import of_one_scale
from .hypervolume import Reference, hypervolume, reference
from .measures import HEADLINE
from .pairs import ALPHA, Sides
from .stand import Row, Stand


class Volume(NamedTuple):
    value: float
    replicates: Floats  # [B]


def volume_rows(sides: Sequence[Sides]) -> list[Row]:
    """Of all units alike, by headline metric. A pair without losses of one scale has none."""
    every = [each for side in sides for stood in (side.first, side.second) for each in stood.coordinates]
    if not of_one_scale(every):
        return []
    ends = reference([each for each in every if each is not None])
    rows = []
    for side in sides:
        for number, metric in enumerate(side.first.metrics):
            if metric.name not in HEADLINE:
                continue
            first, second = (_volume(stood, number, metric.better or "higher", ends) for stood in side[:2])
            difference = first.replicates - second.replicates
            level = max(expanded(seeds, level=1 - ALPHA) for seeds in side.seeds)
            low, high = percentile(difference[:, None], level=level)
            rows.append(
                {
                    "first": side.names[0],
                    "second": side.names[1],
                    "place": side.first.place,
                    "metric": metric.name,
                    "loss_reference": ends.loss,
                    "l0_reference": float(2**ends.log_l0),
                    "first_volume": first.value,
                    "second_volume": second.value,
                    "difference": first.value - second.value,
                    "low": float(low[0]),
                    "high": float(high[0]),
                }
            )
    return rows


def _volume(stood: Stand, metric: int, better: str, ends: Reference) -> Volume:
    sign = -1.0 if better == "lower" else 1.0
    known = [each for each in stood.coordinates if each is not None]
    above = [level.above_control for level in stood.levels]  # the first stratum is all units
    replicates = hypervolume(
        np.stack([ends.losses - each.losses for each in known], axis=1),
        np.stack([ends.log_l0s - each.log_l0s for each in known], axis=1),
        np.stack([sign * each.replicates[:, metric] for each in above], axis=1),
    )
    value = hypervolume(
        np.array([[ends.loss - each.loss for each in known]]),
        np.array([[ends.log_l0 - each.log_l0 for each in known]]),
        np.array([[sign * each.value[metric] for each in above]]),
    )
    return Volume(float(value[0]), replicates)
