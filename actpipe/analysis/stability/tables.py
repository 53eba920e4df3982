"""Schemas of what is said about pairs of members; docs/reference/report-format.md has the meaning of each column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

_TEXT, _I32, _I64, _F64, _SIGN = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.int8()
_UNIT = [("member", _TEXT), ("feature", _I32), ("sign", _SIGN)]

PAIRS = pa.schema(
    [
        ("member", _TEXT),
        ("other", _TEXT),
        ("units", _I32),
        ("other_units", _I32),
        *((name, _F64) for name in ("mmcs_forward", "mmcs_backward", "chance_forward", "chance_backward")),
        *((name, _F64) for name in ("mcc", "mcc_chance", "shared_share", "shared_chance")),
        ("rows", _I64),
        ("functional_units", _I32),
        *((name, _F64) for name in ("functional_forward", "functional_backward")),
        *((name, _F64) for name in ("functional_chance_forward", "functional_chance_backward")),
        *((name, _F64) for name in ("functional_mcc", "functional_mcc_chance")),
        *((name, _F64) for name in ("functional_shared", "functional_shared_chance")),
    ]
)
MATCHES = pa.schema(
    [
        *_UNIT,
        ("other", _TEXT),
        ("other_feature", _I32),
        ("other_sign", _SIGN),
        ("by", _TEXT),  # direction, function
        *((name, _F64) for name in ("cosine", "read_cosine", "correlation", "jaccard")),
    ]
)
FOUND = pa.schema(
    [
        *_UNIT,
        ("seeds", _I32),
        ("by_direction", _I32),
        ("by_direction_chance", _F64),
        ("seeds_by_function", _I32),
        ("by_function", _I32),
        ("by_function_chance", _F64),
    ]
)


def table(schema: pa.Schema, parts: Sequence[dict[str, Any]]) -> pa.Table:
    """NaN and what a part lacks become null."""
    tables = [pa.table([_column(part, field) for field in schema], schema=schema) for part in parts]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _column(part: dict[str, Any], field: pa.Field) -> pa.Array:
    if field.name not in part:
        return pa.nulls(len(part["member"]), field.type)
    values = part[field.name]
    if pa.types.is_string(field.type):
        return pa.array(values, field.type)
    return pa.array(np.asarray(values, np.float64), pa.float64(), from_pandas=True).cast(field.type)
