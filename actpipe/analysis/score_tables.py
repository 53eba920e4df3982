"""scores.parquet and the tables that scores bring with them, of one member each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from .hook_analysis import Analysed, Found
from .schemas import METADATA, schema
from .scores import Score

_KEYS = [("member", pa.string()), ("feature", pa.int32()), ("sign", pa.int8())]


def scores_table(analysed: Analysed) -> pa.Table:
    """One row a unit and metric: the member's own units, then those of its controls."""
    found = [(None, analysed.found), *analysed.controls.items()]
    return pa.concat_tables([_scores(analysed.member.name, control, each) for control, each in found])


def _scores(member: str, control: str | None, found: Found) -> pa.Table:
    columns = {metric: values for scored in found.scored.values() for metric, values in scored.columns.items()}
    n, repeats = found.units.n, len(columns)
    values = np.concatenate(list(columns.values())) if columns else np.zeros(0)
    return pa.table(
        {
            "member": pa.array([member] * (n * repeats), pa.string()),
            "feature": pa.array(np.tile(found.units.feature, repeats), pa.int32()),
            "sign": pa.array(np.tile(found.units.sign, repeats), pa.int8()),
            "control": pa.array([control] * (n * repeats), pa.string()),
            "metric": pa.array(np.repeat(np.array(list(columns), object), n), pa.string()),
            "value": pa.array(values.astype(np.float64), pa.float64(), from_pandas=True),
        },
        schema=schema("scores"),
    )


def schemas_of(scores: Sequence[Score]) -> dict[str, pa.Schema]:
    """Of the tables that these scores bring, with the key of a unit in place of its number."""
    return {name: _keyed(own) for score in scores for name, own in score.tables.items()}


def tables_of(analysed: Analysed) -> dict[str, pa.Table]:
    """Of the member's own units, not of its controls."""
    found = {}
    for scored in analysed.found.scored.values():
        for name, table in scored.tables.items():
            unit = table["unit"].to_numpy()
            units = analysed.found.units
            keys = [
                pa.array([analysed.member.name] * len(table), pa.string()),
                pa.array(units.feature[unit], pa.int32()),
                pa.array(units.sign[unit], pa.int8()),
            ]
            rest = table.drop_columns(["unit"])
            found[name] = pa.table([*keys, *rest.columns], schema=_keyed(table.schema))
    return found


def _keyed(own: pa.Schema) -> pa.Schema:
    return pa.schema([*_KEYS, *(field for field in own if field.name != "unit")], metadata=METADATA)
