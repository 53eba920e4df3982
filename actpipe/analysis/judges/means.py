"""Means over units of what a judge found, each beside its control, for the summary of a run.

Units are what is resampled here; the whole hierarchy (seeds, dictionaries, units, documents) is the business of
actpipe.analysis.statistics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .judging import Judgement

DRAWS = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Mean:
    member: str
    protocol: str
    metric: str
    mean: float
    low: float  # 95 %, over units; NaN for fewer than two, as are those of delta
    high: float
    n: int  # units with a value
    undefined: int  # units without
    control: float  # mean with other units' explanations; NaN without control
    delta: float  # mean of the unit's own value minus its control
    delta_low: float
    delta_high: float


def finite(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: null."""
    return {name: None if isinstance(x, float) and x != x else x for name, x in fields.items()}


def means(found: Iterable[Judgement], *, seed: int) -> list[Mean]:
    own: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for judgement in found:
        for protocol, measures in judgement.measures.items():
            control = {m.metric: m.value for m in judgement.control.get(protocol, [])}
            for m in measures:
                own[judgement.unit.member, protocol, m.metric].append((m.value, control.get(m.metric, np.nan)))
    return [_mean(*key, np.array(values), seed) for key, values in own.items()]


def _mean(member: str, protocol: str, metric: str, pairs: Floats, seed: int) -> Mean:
    values, control = pairs.T
    known, paired = ~np.isnan(values), ~np.isnan(pairs).any(axis=1)
    low, high = _interval(values[known], seed)
    difference = values[paired] - control[paired]
    delta_low, delta_high = _interval(difference, seed)
    return Mean(
        member=member,
        protocol=protocol,
        metric=metric,
        mean=_average(values[known]),
        low=low,
        high=high,
        n=int(known.sum()),
        undefined=int((~known).sum()),
        control=_average(control[~np.isnan(control)]),
        delta=_average(difference),
        delta_low=delta_low,
        delta_high=delta_high,
    )


def _average(values: Floats) -> float:
    return float(values.mean()) if len(values) else np.nan


def _interval(values: Floats, seed: int) -> tuple[float, float]:
    """Percentiles of a bootstrap of units; none for a single one."""
    if len(values) < 2:
        return np.nan, np.nan
    picked = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.percentile(values[picked].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
