"""members.parquet: the numbers of the training run, and medians of the scores beside those of their controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .analysed import Analysed
from .schemas import COLUMNS, schema

Row = dict[str, Any]

DENSE = 0.1  # density above which a unit counts as dense
TOKEN_UNIT = 0.8  # token R² above which a unit is a function of the token, mostly
CONTROLS = {"random": "random_directions", "shuffled": "shuffled_tokens"}


def member_row(analysed: Analysed) -> Row:
    units, result, found = analysed.tables["units"], analysed.member.result, analysed.found.units
    row: Row = {name: finite(result.get(name)) for name in COLUMNS["members"]}
    alive = np.asarray(units["alive"])
    density = column(units, "density")
    row |= {
        "member": analysed.member.name,
        "kind": found.kind,
        "writes": found.writes,
        "stream": found.path,
        "width": analysed.width,
        "units": len(units),
        "analysed_l0": float(density.sum()),
        "alive_units": int(alive.sum()),
        "dead_units": int((~alive).sum()),
        "dense_units": int((density > DENSE).sum()),
        "token_units": int((column(units, "token_r2") > TOKEN_UNIT).sum()),
        "median_density": quantile(density[alive]),
    }
    for score in ("token_r2", "token_entropy", "effective_tokens", "purity"):
        row[f"median_{score}"] = quantile(column(units, score))
    for short, control in CONTROLS.items():
        for score in ("token_r2", "token_entropy"):
            row[f"{short}_{score}"] = quantile(column(control_rows(analysed, control), score))
    return row


def members_table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema("members"))


def control_rows(analysed: Analysed, control: str) -> pa.Table:
    controls = analysed.tables["controls"]
    return controls.filter(pc.equal(controls["control"], control))


def column(table: pa.Table, name: str) -> NDArray[np.float64]:
    """As float64, null as NaN."""
    values: NDArray[np.float64] = table[name].to_numpy().astype(np.float64)
    return values


def quantile(values: NDArray[np.float64], q: float = 0.5) -> float | None:
    """Of what is defined; None where nothing is."""
    defined = values[np.isfinite(values)]
    return float(np.quantile(defined, q)) if len(defined) else None


def finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
