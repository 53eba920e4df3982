"""Every mean that is reported, with its interval, its number of units and its control: means.parquet.

    Δ = mean − the largest mean of an applicable control         (the smallest, where lower is better)

In each replicate the controls compete anew, so that choosing the hardest of several is part of the interval. A control
applies to a configuration if all its members have it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from actpipe.analysis.multiplicity import holm
from actpipe.analysis.scores import Metric
from actpipe.analysis.threads import one_thread_each

from .columns import columns as cells
from .comparison import Comparison, Request, compared
from .measured import STRATA, WEIGHTINGS, Measured
from .resampling import REPLICATES
from .strata import reference

_TEXT, _FLAG, _COUNT, _NUMBER = pa.string(), pa.bool_(), pa.int32(), pa.float64()
MEANS = pa.schema(
    [
        ("member", _TEXT),  # null in a row over the seeds of a configuration
        ("configuration", _TEXT),
        ("level", _TEXT),  # member, configuration
        ("metric", _TEXT),
        ("weighting", _TEXT),
        ("stratum", _TEXT),
        *((name, _NUMBER) for name in ("mean", "low", "high")),
        ("method", _TEXT),  # bca, percentile
        ("n", _COUNT),
        ("n_effective", _NUMBER),
        ("undefined", _COUNT),
        ("dead", _COUNT),
        *((name, _NUMBER) for name in ("mean_imputed", "imputed_low", "imputed_high", "imputed_at")),
        ("seeds", _COUNT),
        ("few_seeds", _FLAG),
        *((name, _NUMBER) for name in ("seed_low", "seed_high")),
        ("control", _TEXT),
        *((name, _NUMBER) for name in ("control_mean", "control_low", "control_high")),
        ("control_n", _COUNT),
        *((name, _NUMBER) for name in ("delta", "delta_low", "delta_high", "delta_seed_low", "delta_seed_high")),
        ("verdict", _TEXT),  # better, equivalent, worse, undecided
        *((name, _NUMBER) for name in ("p", "p_holm")),
        *((name, _NUMBER) for name in ("density_adjusted", "density_adjusted_low", "density_adjusted_high")),
        ("density_coverage", _NUMBER),
    ]
)
_ENTRIES = 1 << 24  # of a batch of metrics: n units · sums; 128 MiB


def means(
    measured: Sequence[Measured],
    metrics: Sequence[Metric],
    *,
    nulls: Mapping[str, float] | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> pa.Table:
    """A row a member (and a configuration of several), metric, weighting and stratum.

    `nulls`: metric → the score of what says nothing, where theory knows it; elsewhere undefined scores are imputed at
    the mean of the control. Densities are adjusted to those of all members together.
    """
    subjects = [each for each in measured if each.control is None]
    target = reference([each.density[each.alive] for each in subjects])

    def requests(members: Sequence[Measured]) -> Iterator[Request]:
        for batch in _batches(metrics, members):
            yield Request(
                members=members,
                controls=controls_of(measured, members),
                metrics=batch,
                target=target,
                nulls=nulls or {},
                seed=seed,
                replicates=replicates,
            )

    asked = [(level, request) for level, members in levels(subjects) for request in requests(members)]
    with one_thread_each(len(asked)) as pool:
        found = pool.map(lambda each: list(_rows(each[0], compared(each[1]))), asked)
        return _table(list(itertools.chain.from_iterable(found)))


def levels(subjects: Sequence[Measured]) -> Iterator[tuple[str, list[Measured]]]:
    yield from (("member", [each]) for each in subjects)
    for configuration in dict.fromkeys(each.configuration for each in subjects):
        members = [each for each in subjects if each.configuration == configuration]
        if len(members) > 1:
            yield "configuration", members


def controls_of(measured: Sequence[Measured], members: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Control → one subject for each of `members`, in their order."""
    found = {(each.member, each.control): each for each in measured if each.control is not None}
    names = dict.fromkeys(name for _, name in found if name is not None)
    return {
        name: [_alike(found[member.member, name], member) for member in members]
        for name in names
        if all((member.member, name) in found for member in members)
    }


def _alike(control: Measured, member: Measured) -> Measured:
    """What is done to the text changes no unit: shuffled units stay in the strata of the units themselves."""
    if not control.same_units:
        return control
    return replace(control, density=member.density, mass=member.mass, token_r2=member.token_r2)


def _batches(metrics: Sequence[Metric], members: Sequence[Measured]) -> Iterator[Sequence[Metric]]:
    n = max(len(each.density) for each in members)
    size = max(1, _ENTRIES // (18 * max(n, 1)))  # up to 18 sums a metric
    present = [metric for metric in metrics if any(metric.name in each.values for each in members)]
    yield from (present[start : start + size] for start in range(0, len(present), size))


def _rows(level: str, found: Comparison) -> Iterator[dict[str, Any]]:
    members = found.request.members
    columns = cells(found)
    places = itertools.product(WEIGHTINGS, STRATA, found.request.metrics)  # the order of the cells
    n_metrics = len(found.request.metrics)
    for number, (weighting, stratum, metric) in sorted(enumerate(places), key=lambda place: place[0] % n_metrics):
        yield {
            "member": members[0].member if level == "member" else None,
            "configuration": members[0].configuration,
            "level": level,
            "metric": metric.name,
            "weighting": weighting,
            "stratum": stratum,
            **{name: values[number] for name, values in columns.items()},
        }


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """NaN becomes null. The p-values of one question put to several members (or configurations) are a family."""
    families: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in ("level", "metric", "weighting", "stratum"))
        families.setdefault(key, []).append(row)
    for family in families.values():
        adjusted = holm(np.array([row["p"] for row in family]))
        for row, p in zip(family, adjusted.tolist(), strict=True):
            row["p_holm"] = p
    columns = [pa.array([row[field.name] for row in rows], field.type, from_pandas=True) for field in MEANS]
    return pa.table(columns, schema=MEANS)
