"""Columns of the tables of docs/reference/compare-format.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

FORMAT, VERSION = "actpipe-comparison", 1
_TEXT, _FLAG, _COUNT, _NUMBER = pa.string(), pa.bool_(), pa.int32(), pa.float64()


def _numbers(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, _NUMBER) for name in names]


def _texts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, _TEXT) for name in names]


_ABOUT = {"actpipe.format": "comparison", "actpipe.version": str(VERSION)}
_FIELDS: Mapping[str, list[tuple[str, pa.DataType]]] = {
    "means": [
        *_texts("arm", "metric", "role", "stratum"),
        *_numbers("mean", "low", "high"),
        *((name, _COUNT) for name in ("n", "undefined", "dead", "seeds")),
        *_texts("control"),
        *_numbers("control_mean", "delta", "delta_low", "delta_high"),
        ("beats_control", _FLAG),
    ],
    "pairs": [
        *_texts("first", "second", "metric", "role", "stratum", "estimate", "better"),
        *_numbers("first_value", "second_value", "difference", "low", "high", "p", "p_holm", "p_equivalent"),
        ("first_n", _COUNT),
        ("second_n", _COUNT),
        *_numbers("overlap"),
        *_texts("verdict"),
    ],
    "verdicts": [*_texts("first", "second", "metric", "role", "stratum", "verdict", "reason"), ("exploratory", _FLAG)],
}
SCHEMAS = {name: pa.schema(fields, metadata=_ABOUT) for name, fields in _FIELDS.items()}


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """NaN becomes null."""
    schema = SCHEMAS[name]
    columns = [pa.array([row[field.name] for row in rows], field.type, from_pandas=True) for field in schema]
    return pa.table(columns, schema=schema)
