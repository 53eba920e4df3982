"""Scores at given densities, beside those of each control at the same densities: density_points.parquet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from actpipe.analysis.scores import Metric
from actpipe.analysis.threads import one_thread_each

from .density_curve import POINTS, curve
from .intervals import Interval, expanded, percentile
from .means import controls_of, levels
from .measured import Measured
from .resampling import REPLICATES, Replicated, Units, replicated
from .strata import strata

_TEXT, _NUMBER = pa.string(), pa.float64()
DENSITY_POINTS = pa.schema(
    [
        *((name, _TEXT) for name in ("member", "configuration", "level", "metric")),
        ("density", _NUMBER),
        *((name, _NUMBER) for name in ("value", "low", "high")),
        ("n", pa.int32()),
        ("control", _TEXT),  # a row each; null where there is none
        *((name, _NUMBER) for name in ("control_value", "control_low", "control_high")),
        *((name, _NUMBER) for name in ("delta", "delta_low", "delta_high")),
    ]
)
_METRICS = 16  # together: 20 sums a unit and metric


def density_points(
    measured: Sequence[Measured], metrics: Sequence[Metric], *, seed: int = 0, replicates: int = REPLICATES
) -> pa.Table:
    """A row a member (and a configuration of several), metric, density and control."""
    subjects = [each for each in measured if each.control is None]
    present = [metric.name for metric in metrics if any(metric.name in each.values for each in subjects)]
    batches = [present[start : start + _METRICS] for start in range(0, len(present), _METRICS)]

    def found(asked: tuple[tuple[str, list[Measured]], list[str]]) -> list[dict[str, Any]]:
        (level, members), names = asked
        return list(_rows(level, members, controls_of(measured, members), names, seed, replicates))

    asked = list(itertools.product(levels(subjects), batches))
    with one_thread_each(len(asked)) as pool:
        rows = list(itertools.chain.from_iterable(pool.map(found, asked)))
    columns = [pa.array([row[field.name] for row in rows], field.type, from_pandas=True) for field in DENSITY_POINTS]
    return pa.table(columns, schema=DENSITY_POINTS)


def _rows(
    level: str,
    members: Sequence[Measured],
    controls: Mapping[str, Sequence[Measured]],
    names: Sequence[str],
    seed: int,
    replicates: int,
) -> Iterator[dict[str, Any]]:
    own = _curves(members, members, names, seed, 0, replicates)
    reach = expanded(len(own.tops))
    around = percentile(own.replicates, level=reach)
    numbers = sum(np.isfinite(each.table(names))[each.alive].sum(axis=0) for each in members)
    nothing = np.full(len(own.value), np.nan)
    for number, (name, found) in enumerate(controls.items() or [(None, None)]):
        other, beside, change = nothing, Interval(nothing, nothing), Interval(nothing, nothing)
        if found is not None:
            theirs = _curves(found, members, names, seed, 0 if found[0].same_units else 1 + number, replicates)
            other, beside = theirs.value, percentile(theirs.replicates, level=reach)
            change = percentile(own.replicates - theirs.replicates, level=reach)
        for cell, (point, metric) in enumerate((point, metric) for point in POINTS for metric in range(len(names))):
            yield {
                "member": members[0].member if level == "member" else None,
                "configuration": members[0].configuration,
                "level": level,
                "metric": names[metric],
                "density": point,
                "value": own.value[cell],
                "low": around.low[cell],
                "high": around.high[cell],
                "n": int(numbers[metric]),
                "control": name,
                "control_value": other[cell],
                "control_low": beside.low[cell],
                "control_high": beside.high[cell],
                "delta": own.value[cell] - other[cell],
                "delta_low": change.low[cell],
                "delta_high": change.high[cell],
            }


def _curves(
    measured: Sequence[Measured],
    members: Sequence[Measured],
    names: Sequence[str],
    seed: int,
    stream: int,
    replicates: int,
) -> Replicated:
    groups = []
    for each, member in zip(measured, members, strict=True):
        found = curve(each.density, each.table(names))
        groups.append(
            Units(
                model=member.model,
                dictionary=member.dictionary,
                sums=found.sums,
                strata=strata(each.density),
                statistic=found.statistic,
            )
        )
    return replicated(groups, seed=seed, stream=stream, replicates=replicates)
