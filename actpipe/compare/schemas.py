"""Columns of the tables of docs/reference/compare-format.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

FORMAT, VERSION = "actpipe-comparison", 3
_TEXT, _FLAG, _COUNT, _NUMBER = pa.string(), pa.bool_(), pa.int32(), pa.float64()

Fields = list[tuple[str, pa.DataType]]


def _numbers(*names: str) -> Fields:
    return [(name, _NUMBER) for name in names]


def _texts(*names: str) -> Fields:
    return [(name, _TEXT) for name in names]


def _counts(*names: str) -> Fields:
    return [(name, _COUNT) for name in names]


_PAIR: Fields = [*_texts("first", "second"), ("twin", _FLAG), *_texts("place", "design")]
_ABOUT = {"actpipe.format": "comparison", "actpipe.version": str(VERSION)}
_FIELDS: Mapping[str, Fields] = {
    "means": [
        *_texts("arm"),
        ("twin", _FLAG),
        *_texts("level", "place"),
        *_numbers("loss", "loss_low", "loss_high", "l0", "l0_low", "l0_high", "flops"),
        *_texts("metric", "role", "stratum"),
        *_numbers("mean", "low", "high"),
        *_counts("n", "undefined", "dead", "seeds"),
        *_texts("control"),
        *_numbers("control_mean", "delta", "delta_low", "delta_high"),
        *_numbers("contribution_mean", "contribution_low", "contribution_high"),
        ("beats_control", _FLAG),
    ],
    "designs": [*_PAIR, *_texts("status", "reason"), *_numbers("first_loss", "first_l0", "second_loss", "second_l0")],
    "pairs": [
        *_PAIR,
        *_texts("metric", "role", "stratum", "estimate", "better"),
        *_numbers("first_value", "second_value", "difference", "low", "high", "p", "p_holm", "p_equivalent"),
        *_counts("first_n", "second_n"),
        *_numbers("overlap"),
        *_texts("verdict"),
    ],
    "hypervolumes": [
        *_texts("first", "second", "place", "metric"),
        *_numbers("loss_reference", "l0_reference", "first_volume", "second_volume", "difference", "low", "high"),
    ],
    "surfaces": [*_texts("arm", "metric"), *_numbers("loss_bound", "l0_bound", "attained", "low", "high")],
    "verdicts": [*_PAIR, *_texts("metric", "role", "stratum", "verdict", "reason"), ("exploratory", _FLAG)],
    "claims": [
        *_texts("first", "second", "claim", "reason", "looks"),
        ("lacks", pa.list_(pa.field("element", _TEXT))),
        ("exploratory", _FLAG),
        *_counts("seeds"),
    ],
}
SCHEMAS = {name: pa.schema(fields, metadata=_ABOUT) for name, fields in _FIELDS.items()}


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """NaN becomes null."""
    schema = SCHEMAS[name]
    columns = [pa.array([row[field.name] for row in rows], field.type, from_pandas=True) for field in schema]
    return pa.table(columns, schema=schema)
