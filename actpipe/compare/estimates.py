"""What the bootstrap says of one level at one place: its means, its controls, and the replicates for differences.

Draws of seeds are the same for all arms (the first model of one is drawn with the first of another); draws of units
follow from the units: the same units have the same draws, and other units others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from actpipe.analysis.scores import Metric
from actpipe.analysis.statistics import Measured
from actpipe.analysis.statistics.columns import columns
from actpipe.analysis.statistics.comparison import Request, compared
from actpipe.analysis.statistics.measured import STRATA
from actpipe.analysis.statistics.strata import N_BINS, Floats

from .arm import Pool
from .measures import role

_ENTRIES = 1 << 24  # of a batch of metrics: n units · sums; 128 MiB
_SUMS_PER_METRIC = 18  # at most
_OF_MEANS = ("mean", "low", "high", "n", "undefined", "dead", "seeds", "control", "control_mean",
             "delta", "delta_low", "delta_high")  # fmt: skip


class Drawn(NamedTuple):
    """One estimate in C = S · M columns, strata first, and its replicates [B, C]."""

    value: Floats
    replicates: Floats


class Estimates(NamedTuple):
    means: list[dict[str, Any]]  # a row a stratum and metric, in the order of the columns
    mean: Drawn
    contribution: Drawn  # the mean with units weighted by what they write in all
    above_control: Drawn
    stream: int  # of the draws of units


def identity(pool: Pool) -> int:
    """Equal for pools whose units are equal in everything that is compared."""
    found = hashlib.sha256()
    for each in pool.measured:
        found.update(each.density.tobytes())
        found.update(each.token_r2.tobytes())
        for name in sorted(each.values):
            found.update(name.encode() + each.values[name].tobytes())
    return int.from_bytes(found.digest()[:6], "little")


def estimates(pool: Pool, metrics: Sequence[Metric], *, seed: int, replicates: int) -> Estimates:
    stream = identity(pool)
    parts = [
        _part(pool, batch, seed=seed, stream=stream, replicates=replicates)
        for batch in _batches(metrics, pool.measured)
    ]
    return Estimates(
        means=[row for s in range(len(STRATA)) for part in parts for row in part.means if row["stratum"] == STRATA[s]],
        mean=_joined([part.mean for part in parts]),
        contribution=_joined([part.contribution for part in parts]),
        above_control=_joined([part.above_control for part in parts]),
        stream=stream,
    )


def mixed(levels: Sequence[Drawn], weights: Floats) -> Drawn:
    """Levels with their weights; those of weight 0 need no value."""
    chosen = [(level, float(w)) for level, w in zip(levels, weights, strict=True) if w > 0]
    value = sum((w * level.value for level, w in chosen), np.zeros(1))
    replicates = sum((w * level.replicates for level, w in chosen), np.zeros((1, 1)))
    return Drawn(value, replicates)


def _part(pool: Pool, metrics: Sequence[Metric], *, seed: int, stream: int, replicates: int) -> Estimates:
    request = Request(
        members=pool.measured,
        controls=pool.controls,
        metrics=metrics,
        target=np.zeros(N_BINS),  # pairs of arms have targets of their own
        nulls={},
        seed=seed,
        replicates=replicates,
        stream=stream,
    )
    found = compared(request)
    n = len(STRATA) * len(metrics)  # of 2 n plain columns; the second half is weighted by contribution
    cells = columns(found)
    rows = []
    for place in range(n):
        stratum, metric = STRATA[place // len(metrics)], metrics[place % len(metrics)]
        values = {name: cells[name][place] for name in _OF_MEANS}
        weighted = {f"contribution_{name}": cells[name][n + place] for name in ("mean", "low", "high")}
        side = (values["delta_high"], -1) if metric.better == "lower" else (values["delta_low"], 1)
        names = {"metric": metric.name, "role": role(metric.name), "stratum": stratum}
        rows.append({**names, **values, **weighted, "beats_control": bool(side[0] * side[1] > 0)})  # False where NaN
    source = found.source.found
    return Estimates(
        means=rows,
        mean=Drawn(source.value[:n], source.replicates[:, :n]),
        contribution=Drawn(source.value[n : 2 * n], source.replicates[:, n : 2 * n]),
        above_control=Drawn(found.delta[:n], found.differences[:, :n]),
        stream=stream,
    )


def _joined(parts: Sequence[Drawn]) -> Drawn:
    """Columns of batches of metrics in one order: all metrics of a stratum, then those of the next."""

    def together(arrays: list[Floats]) -> Floats:
        split = [array.reshape(*array.shape[:-1], len(STRATA), -1) for array in arrays]
        whole: Floats = np.concatenate(split, axis=-1)
        return whole.reshape(*whole.shape[:-2], -1)

    return Drawn(together([part.value for part in parts]), together([part.replicates for part in parts]))


def _batches(metrics: Sequence[Metric], members: Sequence[Measured]) -> list[Sequence[Metric]]:
    n = max(len(each.density) for each in members)
    size = max(1, _ENTRIES // (_SUMS_PER_METRIC * max(n, 1)))
    return [metrics[start : start + size] for start in range(0, len(metrics), size)]
