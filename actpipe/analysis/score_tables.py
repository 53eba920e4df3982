"""scores.parquet and the tables that scores bring with them, of one member each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from .analysed import Analysed, Found
from .schemas import METADATA, schema
from .scores import Score
from .units import UnitSet

_KEYS = [("member", pa.string()), ("feature", pa.int32()), ("sign", pa.int8())]
_IN_PLACE = {"unit": _KEYS, "other": [("other_feature", pa.int32()), ("other_sign", pa.int8())]}


def scores_table(analysed: Analysed) -> pa.Table:
    """One row a unit and metric: the member's own units, then those of its controls."""
    found = [(None, analysed.found), *analysed.controls.items()]
    return pa.concat_tables([_scores(analysed.member.name, control, each) for control, each in found])


def _scores(member: str, control: str | None, found: Found) -> pa.Table:
    n, columns = found.units.n, found.columns
    repeats = len(columns)
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
    return {name: keyed(own) for score in scores for name, own in score.tables.items()}


def tables_of(analysed: Analysed) -> dict[str, pa.Table]:
    """Of the member's own units, not of its controls."""
    scored, units = analysed.found.scored.values(), analysed.found.units
    return {name: with_keys(table, units) for each in scored for name, table in each.tables.items()}


def keyed(own: pa.Schema) -> pa.Schema:
    """With the member, feature and sign in place of `unit`, the number of a unit, and feature and sign in place of
    `other`, that of another one of the same set; with the member alone where there is no unit."""
    keys = [_KEYS[0]] if "unit" not in own.names else []
    fields = [pair for field in own for pair in _IN_PLACE.get(field.name, [(field.name, field.type)])]
    return pa.schema([*keys, *fields], metadata=METADATA)


def with_keys(table: pa.Table, units: UnitSet) -> pa.Table:
    """Unit −1, the whole set, is feature −1."""
    feature, sign = np.append(units.feature, -1), np.append(units.sign, 1)
    member = pa.array([units.name] * len(table), pa.string())
    columns = [member] if "unit" not in table.column_names else []
    for name in table.column_names:
        if name not in _IN_PLACE:
            columns.append(table[name])
            continue
        number = table[name].to_numpy()
        columns += [member] if name == "unit" else []
        columns += [pa.array(feature[number], pa.int32()), pa.array(sign[number], pa.int8())]
    return pa.table(columns, schema=keyed(table.schema))
