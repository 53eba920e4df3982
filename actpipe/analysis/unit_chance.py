"""chance.parquet: every unit's scores beside those that chance gives units of its density, corrected for how many are
asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from .analysed import Analysed
from .member_pass import SHUFFLED
from .multiplicity import benjamini_hochberg
from .scores import Metric
from .statistics.permutation import against_null, nearest_in_density

CHANCE = pa.schema(
    [
        ("member", pa.string()),
        ("feature", pa.int32()),
        ("sign", pa.int8()),
        ("metric", pa.string()),
        *((name, pa.float64()) for name in ("chance", "z", "p", "q")),
        ("draws", pa.int32()),
    ]
)


def chance_table(analysed: Analysed, metrics: Sequence[Metric]) -> pa.Table:
    """A row an alive unit and metric that has a better side."""
    own, null = analysed.found, analysed.controls[SHUFFLED]
    alive, firing = np.flatnonzero(own.density > 0), np.flatnonzero(null.density > 0)
    if not len(firing):
        return CHANCE.empty_table()
    nearest = firing[nearest_in_density(own.density[alive], null.density[firing])]
    values, drawn = own.columns, null.columns
    parts = []
    for metric in metrics:
        if metric.better is None or metric.name not in values:
            continue
        sign = -1.0 if metric.better == "lower" else 1.0
        found = against_null(sign * values[metric.name][alive], sign * drawn[metric.name][nearest])
        columns = [found.z, found.p, benjamini_hochberg(found.p)]
        parts.append(
            pa.table(
                [
                    pa.array([analysed.member.name] * len(alive), pa.string()),
                    pa.array(own.units.feature[alive], pa.int32()),
                    pa.array(own.units.sign[alive], pa.int8()),
                    pa.array([metric.name] * len(alive), pa.string()),
                    *(pa.array(each, pa.float64(), from_pandas=True) for each in (sign * found.mean, *columns)),
                    pa.array(found.draws, pa.int32()),
                ],
                schema=CHANCE,
            )
        )
    return pa.concat_tables(parts) if parts else CHANCE.empty_table()
