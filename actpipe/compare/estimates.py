"""What the bootstrap says of one arm: its means, its controls, and the replicates from which differences are taken."""

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

from .arm import Arm
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
    means: list[dict[str, Any]]  # rows of means.parquet, in the order of the columns
    mean: Drawn
    above_control: Drawn
    seed: int  # of the arm's draws


def identity(arm: Arm) -> bytes:
    """Equal for arms whose units are equal in everything that is compared."""
    found = hashlib.sha256()
    for each in arm.measured:
        found.update(each.density.tobytes())
        found.update(each.token_r2.tobytes())
        for name in sorted(each.values):
            found.update(name.encode() + each.values[name].tobytes())
    return found.digest()


def estimates(arm: Arm, metrics: Sequence[Metric], *, seed: int, replicates: int) -> Estimates:
    """Draws follow from the units: the same units have the same draws, and other units others."""
    own = int.from_bytes(hashlib.sha256(identity(arm) + seed.to_bytes(8, "little")).digest()[:6], "little")
    parts = [_part(arm, batch, seed=own, replicates=replicates) for batch in _batches(metrics, arm.measured)]
    return Estimates(
        means=[row for s in range(len(STRATA)) for part in parts for row in part.means if row["stratum"] == STRATA[s]],
        mean=_joined([part.mean for part in parts]),
        above_control=_joined([part.above_control for part in parts]),
        seed=own,
    )


def _part(arm: Arm, metrics: Sequence[Metric], *, seed: int, replicates: int) -> Estimates:
    request = Request(
        members=arm.measured,
        controls=arm.controls,
        metrics=metrics,
        target=np.zeros(N_BINS),  # pairs of arms have targets of their own
        nulls={},
        seed=seed,
        replicates=replicates,
    )
    found = compared(request)
    n = len(STRATA) * len(metrics)  # of 2 n plain columns; the second half is weighted by contribution
    cells = columns(found)
    rows = []
    for place in range(n):
        stratum, metric = STRATA[place // len(metrics)], metrics[place % len(metrics)]
        values = {name: cells[name][place] for name in _OF_MEANS}
        side = (values["delta_high"], -1) if metric.better == "lower" else (values["delta_low"], 1)
        names = {"arm": arm.name, "metric": metric.name, "role": role(metric.name), "stratum": stratum}
        rows.append({**names, **values, "beats_control": bool(side[0] * side[1] > 0)})  # False where NaN
    return Estimates(
        means=rows,
        mean=Drawn(found.source.found.value[:n], found.source.found.replicates[:, :n]),
        above_control=Drawn(found.delta[:n], found.differences[:, :n]),
        seed=seed,
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
