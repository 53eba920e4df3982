"""A comparison as columns of the table of means."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from .comparison import Comparison, Source
from .equivalence import margins_of, tost
from .intervals import FEW_SEEDS, LEVEL, percentile, student, two_sided_p
from .measured import Counts, counts
from .strata import Floats

Column = list[Any]


def columns(found: Comparison) -> dict[str, Column]:
    """Each of 6M cells, in the order weighting, stratum, metric."""
    return {**_of_means(found), **_of_controls(found), **_of_adjusted(found)}


def _of_means(found: Comparison) -> dict[str, Column]:
    n, value, seeds = found.plain, found.source.found.value, len(found.source.found.tops)
    held = counted(found, found.source)
    by_seed = student(found.source.found.tops[:, :n])
    low, high = found.interval
    return {
        "mean": value[:n].tolist(),
        "low": low[:n].tolist(),
        "high": high[:n].tolist(),
        "method": [found.method] * n,
        "n": _whole(held.n),
        "n_effective": held.effective.reshape(-1).tolist(),
        "undefined": _whole(held.undefined),
        "dead": [sum(int((~each.alive).sum()) for each in found.source.measured)] * n,
        "mean_imputed": value[n : 2 * n].tolist(),
        "imputed_low": low[n : 2 * n].tolist(),
        "imputed_high": high[n : 2 * n].tolist(),
        "imputed_at": found.nulls.tolist(),
        "seeds": [seeds] * n,
        "few_seeds": [seeds < FEW_SEEDS] * n,
        "seed_low": by_seed.low.tolist(),
        "seed_high": by_seed.high.tolist(),
    }


def _of_controls(found: Comparison) -> dict[str, Column]:
    names = list(found.controls)
    held = [counted(found, source).n.reshape(-1) for source in found.controls.values()]
    around = percentile(found.control.replicates, level=found.level)
    low, high = found.delta_interval
    by_seed = student(found.delta_tops)
    return {
        "control": [names[each] if each >= 0 else None for each in found.chosen],
        "control_mean": found.control.value.tolist(),
        "control_low": around.low.tolist(),
        "control_high": around.high.tolist(),
        "control_n": _whole(found.pick(held)),
        "delta": found.delta.tolist(),
        "delta_low": low.tolist(),
        "delta_high": high.tolist(),
        "delta_seed_low": by_seed.low.tolist(),
        "delta_seed_high": by_seed.high.tolist(),
        "verdict": _verdicts(found, low, high),
        "p": two_sided_p(found.differences).tolist(),
    }


def _verdicts(found: Comparison, low: Floats, high: Floats) -> Column:
    """None where there is no control, or no better and worse."""
    better = [metric.better for metric in found.request.metrics] * 6
    margins = np.tile(margins_of([metric.name for metric in found.request.metrics]), 6)
    small = tost(found.differences, margin=margins).p < 1 - LEVEL
    return [
        None if side is None or np.isnan(a) else _verdict(*((a, b) if side == "higher" else (-b, -a)), margin, equal)
        for side, a, b, margin, equal in zip(better, low, high, margins.tolist(), small.tolist(), strict=True)
    ]


def _verdict(low: float, high: float, margin: float, small: bool) -> str:
    """Of the interval of what is better when larger. A difference below the margin decides nothing, however sure."""
    if low > margin:
        return "better"
    if high < -margin:
        return "worse"
    return "equivalent" if small else "undecided"


def _of_adjusted(found: Comparison) -> dict[str, Column]:
    """Nothing for contributions: their weights are what density decides."""
    n = found.plain
    nothing = np.full(n // 2, np.nan)
    low, high = found.interval
    covered = counted(found, found.source).coverage / len(found.source.measured)

    def whole(values: Floats) -> Column:
        return [*values.tolist(), *nothing.tolist()]

    return {
        "density_adjusted": whole(found.source.found.value[2 * n :]),
        "density_adjusted_low": whole(low[2 * n :]),
        "density_adjusted_high": whole(high[2 * n :]),
        "density_coverage": whole(covered.reshape(-1)),
    }


def counted(found: Comparison, source: Source) -> Counts:
    """Over members; the shares of densities are summed too."""
    names, target = [metric.name for metric in found.request.metrics], found.request.target
    return reduce(Counts.plus, (counts(each, each.table(names), target) for each in source.measured))


def _whole(values: Floats) -> Column:
    return [None if np.isnan(each) else int(each) for each in values.reshape(-1)]
