"""Every two arms, every metric and stratum: the difference, its interval, and what can be decided by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from actpipe.analysis.multiplicity import holm
from actpipe.analysis.scores import Metric
from actpipe.analysis.statistics.equivalence import MARGIN
from actpipe.analysis.statistics.intervals import expanded, percentile, two_sided_p
from actpipe.analysis.statistics.measured import STRATA
from actpipe.analysis.statistics.strata import Floats

from .arm import Arm
from .estimates import Drawn, Estimates
from .measures import role
from .overlap import LEAST_OVERLAP, adjusted, common

ALPHA = 0.05
FEWEST = 10  # units of an arm with a score; a bootstrap of fewer has intervals that are far too short
ESTIMATES = ("mean", "density_adjusted", "above_control")

Row = dict[str, Any]


class Sides(NamedTuple):
    first: Arm
    second: Arm
    of_first: Estimates
    of_second: Estimates

    @property
    def same(self) -> bool:
        return self.of_first.seed == self.of_second.seed

    @property
    def seeds(self) -> tuple[int, int]:
        return len(self.first.measured), len(self.second.measured)


def pair_rows(sides: Sequence[Sides], metrics: Sequence[Metric], *, replicates: int) -> list[Row]:
    """Rows of pairs.parquet."""
    rows = [row for each in sides for row in _of_pair(each, metrics, replicates) if max(_counts(row)) > 0]
    families: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        families.setdefault((row["role"], row["stratum"], row["estimate"]), []).append(row)
    for family in families.values():
        for row, p in zip(family, holm(np.array([row["p"] for row in family])).tolist(), strict=True):
            row["p_holm"] = p
    for row in rows:
        row["verdict"] = _verdict(row)
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def _of_pair(sides: Sides, metrics: Sequence[Metric], replicates: int) -> list[Row]:
    names = [metric.name for metric in metrics]
    shared = common(sides.first.measured, sides.second.measured, names)
    drawn: Mapping[str, tuple[Drawn, Drawn]] = {
        "mean": (sides.of_first.mean, sides.of_second.mean),
        "density_adjusted": (
            _adjusted(sides.first, sides.of_first, names, shared.target, replicates),
            _adjusted(sides.second, sides.of_second, names, shared.target, replicates),
        ),
        "above_control": (sides.of_first.above_control, sides.of_second.above_control),
    }
    found = {name: _differences(sides, *drawn[name]) for name in ESTIMATES}
    return [
        {
            "first": sides.first.name,
            "second": sides.second.name,
            "metric": metric.name,
            "role": role(metric.name),
            "stratum": stratum,
            "estimate": estimate,
            "better": metric.better,
            **{name: float(values[s * len(metrics) + m]) for name, values in found[estimate].items()},
            "first_n": sides.of_first.means[s * len(metrics) + m]["n"],
            "second_n": sides.of_second.means[s * len(metrics) + m]["n"],
            "overlap": float(shared.overlap[s, m]),
            "_same": sides.same,
        }
        for m, metric in enumerate(metrics)
        for s, stratum in enumerate(STRATA)
        for estimate in ESTIMATES
    ]


def _adjusted(arm: Arm, found: Estimates, names: Sequence[str], target: Floats, replicates: int) -> Drawn:
    means = adjusted(arm.measured, names, target, seed=found.seed, replicates=replicates)
    return Drawn(means.value, means.replicates)


def _differences(sides: Sides, first: Drawn, second: Drawn) -> dict[str, Floats]:
    """Each [C]. Keys that begin with _ are for the verdict alone."""
    differences = first.replicates - second.replicates

    def interval(level: float) -> tuple[Floats, Floats]:
        return percentile(differences, level=max(expanded(seeds, level=level) for seeds in sides.seeds))

    (low, high), (inner_low, inner_high) = interval(1 - ALPHA), interval(1 - 2 * ALPHA)
    return {
        "first_value": first.value,
        "second_value": second.value,
        "difference": first.value - second.value,
        "low": low,
        "high": high,
        "p": two_sided_p(differences),
        "p_equivalent": _p_equivalent(differences),
        "_inner_low": inner_low,
        "_inner_high": inner_high,
    }


def _p_equivalent(differences: Floats) -> Floats:
    """[C]: two one-sided tests as in `statistics.equivalence`, over the replicates [B, C] that are defined."""
    defined = np.isfinite(differences).sum(axis=0)
    with np.errstate(invalid="ignore"):
        beyond = np.maximum((differences <= -MARGIN).sum(axis=0), (differences >= MARGIN).sum(axis=0))
    p: Floats = np.where(defined > 0, (1 + beyond) / (defined + 1), np.nan)
    return p


def _verdict(row: Row) -> str:
    """Of the first arm."""
    if row["estimate"] == "density_adjusted" and row["overlap"] < LEAST_OVERLAP and min(_counts(row)) > 0:
        return "no overlap"
    if min(_counts(row)) < (1 if row["_same"] else FEWEST) or np.isnan(row["low"]):
        return "undecided"
    low, high = (row["low"], row["high"]) if row["better"] == "higher" else (-row["high"], -row["low"])
    if row["p_holm"] < ALPHA and (low > MARGIN or high < -MARGIN):
        return "better" if low > MARGIN else "worse"
    inside = row["_inner_low"] > -MARGIN and row["_inner_high"] < MARGIN
    return "no difference" if inside and row["p_equivalent"] < ALPHA else "undecided"


def _counts(row: Row) -> tuple[int, int]:
    return row["first_n"] or 0, row["second_n"] or 0
