"""Rows of surfaces.parquet: what an arm attains where loss and L0_eff are bounded.

An arm attains a score above control at (loss, L0_eff) if one of its levels has no more of either and at least that
score: the surface of the boxes whose volume is the hypervolume. In a replicate that is a staircase, and the empirical
attainment surface at 50 % is the median of the staircases (Grunert da Fonseca et al. 2001), with their middle 95 %
around it. Nothing is interpolated: between two levels an arm attains what the sparser one does.

Shapes: B replicates, n levels, X bounds of L0_eff.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from actpipe.analysis.statistics.intervals import expanded
from actpipe.analysis.statistics.strata import Floats

from .coordinates import Coordinates, of_one_scale
from .hypervolume import Reference, reference
from .measures import HEADLINE
from .stand import Row, Stand

BOUNDS = 64  # of L0_eff, evenly on its logarithm


class Cloud(NamedTuple):
    """Levels of an arm [B, n], without what moves all arms alike."""

    losses: Floats
    log_l0s: Floats
    scores: Floats  # above control, larger is better; −∞ where there is no control


def surface_rows(stands: Sequence[Stand]) -> list[Row]:
    """Of all units alike, by headline metric, at any loss and below the middle of the losses of all levels."""
    found = [each for stood in stands for each in stood.coordinates]
    if not of_one_scale(found):
        return []
    known = [each for each in found if each is not None]
    ends = reference(known)
    losses, log_l0s = [each.loss for each in known], [each.log_l0 for each in known]
    at = np.linspace(min(log_l0s), ends.log_l0, BOUNDS)
    rows = []
    for stood in stands:
        level = expanded(stood.seeds)
        for number, metric in enumerate(stood.metrics):
            if metric.name not in HEADLINE:
                continue
            cloud = _cloud(stood, number, metric.better or "higher", ends)
            for bound in (None, (min(losses) + max(losses)) / 2):
                middle, low, high = attained(cloud, np.inf if bound is None else bound, at, level=level)
                named = {"arm": stood.arm.name, "metric": metric.name, "loss_bound": bound}
                rows += [
                    {**named, "l0_bound": 2**x, "attained": m, "low": a, "high": b}
                    for x, m, a, b in zip(at.tolist(), middle.tolist(), low.tolist(), high.tolist(), strict=True)
                ]
    return rows


def attained(cloud: Cloud, loss: float, at: Floats, *, level: float) -> tuple[Floats, Floats, Floats]:
    """[X] each: the median and the ends of the middle `level` of what is attained with at most this loss, and log₂
    L0_eff at most `at`; NaN where a replicate at that place attains nothing."""
    scores = np.where(cloud.losses <= loss, cloud.scores, -np.inf)
    best = np.stack([np.where(cloud.log_l0s <= x, scores, -np.inf).max(axis=1) for x in at])  # [X, B]
    shares = [0.5, (1 - level) / 2, (1 + level) / 2]
    middle, low, high = np.quantile(best, shares, axis=1, method="inverted_cdf")
    return tuple(np.where(np.isfinite(each), each, np.nan) for each in (middle, low, high))  # type: ignore[return-value]


def _cloud(stood: Stand, metric: int, better: str, ends: Reference) -> Cloud:
    known: list[Coordinates] = [each for each in stood.coordinates if each is not None]
    sign = -1.0 if better == "lower" else 1.0
    scores = [sign * level.above_control.replicates[:, metric] for level in stood.levels]  # stratum 0 is all units
    return Cloud(
        losses=np.stack([each.losses - (ends.losses - ends.loss) for each in known], axis=1),
        log_l0s=np.stack([each.log_l0s - (ends.log_l0s - ends.log_l0) for each in known], axis=1),
        scores=np.nan_to_num(np.stack(scores, axis=1), nan=-np.inf, posinf=np.inf, neginf=-np.inf),
    )
