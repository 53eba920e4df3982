"""Units of one member and of its controls, as the statistics need them, read from the tables of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actpipe.analysis.statistics import Measured
from actpipe.report.tables import Row

Floats = NDArray[np.float64]
SHUFFLED = "shuffled"  # the control that is made of the member's own units
_UNITS = ["feature", "sign", "density", "count", "mean_active", "token_r2"]


class MeasuredMember(NamedTuple):
    own: Measured
    controls: dict[str, Measured]
    negative: int  # alive units that are the negative half of a feature


def measured_of(
    folder: Path, row: Row, configuration: str, model: str | None, metrics: Sequence[str]
) -> MeasuredMember:
    """Masses are those of unit-norm directions, which is what activations in model units are written for; units of
    controls other than the member's own have none, because their activations are not recorded."""
    member = row["member"]
    mine = [("member", "=", member)]
    units = pq.read_table(folder / "parquet" / "units.parquet", columns=_UNITS, filters=mine)
    drawn = pq.read_table(
        folder / "parquet" / "controls.parquet", columns=["control", "unit", "density", "token_r2"], filters=mine
    )
    scores = pq.read_table(folder / "parquet" / "scores.parquet", filters=[*mine, ("metric", "in", list(metrics))])
    keys = _keys(units["feature"], units["sign"])
    density, token_r2 = _floats(units["density"]), _floats(units["token_r2"])
    mass = np.nan_to_num(_floats(units["mean_active"])) * _floats(units["count"])
    own = Measured(
        member=member,
        configuration=configuration,
        dictionary=str(row.get("seed") or 0),
        model=model or "",
        values=_columns(scores, None, keys),
        density=density,
        mass=mass,
        token_r2=token_r2,
    )
    controls = {}
    for name in [name for name in pc.unique(scores["control"]).to_pylist() if name is not None]:
        of_units = drawn.filter(pc.equal(drawn["control"], name))
        if name == SHUFFLED:
            controls[name] = replace(own, values=_columns(scores, name, keys), control=name, same_units=True)
        elif len(of_units):
            controls[name] = replace(
                own,
                values=_columns(scores, name, _keys(of_units["unit"], None)),
                control=name,
                density=_floats(of_units["density"]),
                mass=np.zeros(len(of_units)),
                token_r2=_floats(of_units["token_r2"]),
            )
    negative = int(((units["sign"].to_numpy() < 0) & (density > 0)).sum())
    return MeasuredMember(own, {name: each for name, each in controls.items() if each.values}, negative)


def _columns(scores: pa.Table, control: str | None, keys: NDArray[np.int64]) -> dict[str, Floats]:
    """Metric → a value a unit in the order of `keys`, NaN where there is none."""
    asked = pc.is_null(scores["control"]) if control is None else pc.equal(scores["control"], control)
    rows = scores.filter(pc.fill_null(asked, False))
    signs = rows["sign"] if control in (None, SHUFFLED) else None
    order = np.argsort(keys, kind="stable")
    metric, value = rows["metric"].to_numpy(zero_copy_only=False), _floats(rows["value"])
    own = _keys(rows["feature"], signs)
    place = np.minimum(np.searchsorted(keys[order], own), max(len(keys) - 1, 0))
    known = keys[order][place] == own if len(keys) else np.zeros(len(own), bool)
    columns = {}
    for name in dict.fromkeys(metric.tolist()):
        chosen = (metric == name) & known
        column = np.full(len(keys), np.nan)
        column[order[place[chosen]]] = value[chosen]
        columns[str(name)] = column
    return columns


def _keys(feature: pa.ChunkedArray, sign: pa.ChunkedArray | None) -> NDArray[np.int64]:
    """One number a unit."""
    negative = 0 if sign is None else (sign.to_numpy() < 0).astype(np.int64)
    keys: NDArray[np.int64] = 2 * feature.to_numpy().astype(np.int64) + negative
    return keys


def _floats(column: pa.ChunkedArray) -> Floats:
    """As float64, null as NaN."""
    values: Floats = column.to_numpy().astype(np.float64)
    return values
