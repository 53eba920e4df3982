"""An arm at one place, a layer or all of them, with everything that is estimated of its levels there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from actpipe.analysis.scores import Metric
from actpipe.analysis.statistics.intervals import expanded, percentile
from actpipe.analysis.statistics.strata import Floats

from .arm import Arm, Pool, pool
from .coordinates import Coordinates, coordinates
from .estimates import Drawn, Estimates, estimates, mixed
from .overlap import adjusted, histograms

Row = dict[str, Any]


class Stand(NamedTuple):
    arm: Arm
    place: str
    metrics: list[Metric]
    coordinates: list[Coordinates | None]  # of each level
    pools: list[Pool]
    levels: list[Estimates]
    densities: list[Floats]  # [S, M, N] each: histograms of the units with a score
    seed: int
    replicates: int

    @property
    def streams(self) -> tuple[int, ...]:
        """Equal for arms whose units are the same ones."""
        return tuple(level.stream for level in self.levels)

    @property
    def seeds(self) -> int:
        return self.arm.seeds


def stand(arm: Arm, place: str, metrics: Sequence[Metric], *, seed: int, replicates: int) -> Stand:
    pools = [pool(level, place) for level in arm.levels]
    names = [metric.name for metric in metrics]
    return Stand(
        arm=arm,
        place=place,
        metrics=list(metrics),
        coordinates=[coordinates(level, place, seed=seed, replicates=replicates) for level in arm.levels],
        pools=pools,
        levels=[estimates(each, metrics, seed=seed, replicates=replicates) for each in pools],
        densities=[histograms(each.measured, names) for each in pools],
        seed=seed,
        replicates=replicates,
    )


def at_densities(stood: Stand, weights: Floats, target: Floats) -> Drawn:
    """Means of the levels with these weights, units weighted so that they have the densities of `target`."""
    names = [metric.name for metric in stood.metrics]
    levels = []
    for each, estimate, weight in zip(stood.pools, stood.levels, weights, strict=True):
        if weight <= 0:
            levels.append(estimate.mean)
            continue
        found = adjusted(
            each.measured, names, target, seed=stood.seed, stream=estimate.stream, replicates=stood.replicates
        )
        levels.append(Drawn(found.value, found.replicates))
    return mixed(levels, weights)


def mean_rows(stood: Stand, *, twin: bool) -> list[Row]:
    """Rows of means.parquet: the levels of an arm as points of (loss, L0_eff, score)."""
    rows = []
    for level, where, found in zip(stood.arm.levels, stood.coordinates, stood.levels, strict=True):
        named = {"arm": stood.arm.name, "twin": twin, "level": level.name, "place": stood.place, "flops": level.flops}
        rows += [{**named, **_where(where, stood.seeds), **row} for row in found.means]
    return rows


def _where(found: Coordinates | None, seeds: int) -> Row:
    if found is None:
        return dict.fromkeys(("loss", "loss_low", "loss_high", "l0", "l0_low", "l0_high"), np.nan)
    both = np.stack([found.losses, found.l0s], axis=1)
    low, high = percentile(both, level=expanded(seeds))
    names = ("loss", "l0")
    values = (found.loss, found.l0)
    return {
        key: value
        for name, value, a, b in zip(names, values, low.tolist(), high.tolist(), strict=True)
        for key, value in ((name, value), (f"{name}_low", a), (f"{name}_high", b))
    }
