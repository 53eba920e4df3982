"""A finished report as far as judges read it: planted units of the exam, whose rules are known, as its units."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actpipe.analysis.judges.exam_text import PLANTED, _negative, _positive, passage
from actpipe.analysis.judges.exam_unit import PlantedUnit
from actpipe.analysis.judges.machine_rules import execute

MEMBER = "000-planted"
SAMPLES = pa.schema(
    [
        ("member", pa.string()),
        ("feature", pa.int32()),
        ("sign", pa.int8()),
        ("stratum", pa.string()),
        ("weight", pa.float64()),
        ("document", pa.int32()),
        ("row", pa.int64()),
        ("start", pa.int64()),
        ("tokens", pa.list_(pa.int32())),
        ("activations", pa.list_(pa.float32())),
        ("peak", pa.int32()),
    ]
)


def planted_report(folder: Path, units: int = 6, *, first: int = 4) -> Path:
    """`units` planted units from `first` on: 30 windows on which each fires, 30 silent ones, 10 near misses, 8 of the
    top. The units fire on one window of a hundred."""
    vocabulary: dict[str, int] = {}
    rows, explanations = [], []
    for feature, unit in enumerate(PLANTED[first : first + units]):
        rows += _rows(unit, feature, vocabulary)
        key = {"member": MEMBER, "feature": feature, "sign": 1, "source": "rules"}
        explanations.append(key | {"text": unit.exact.text, "rule": unit.exact.explanation.rule, "budget": 16})
    (folder / "parquet").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SAMPLES), folder / "parquet" / "samples.parquet")
    types = [("member", pa.string()), ("feature", pa.int32()), ("sign", pa.int8()), ("source", pa.string())]
    schema = pa.schema([*types, ("text", pa.string()), ("rule", pa.string()), ("budget", pa.int32())])
    pq.write_table(pa.Table.from_pylist(explanations, schema=schema), folder / "parquet" / "explanations.parquet")
    (folder / "vocabulary.json").write_text(json.dumps(list(vocabulary)))
    return folder


def _rows(unit: PlantedUnit, feature: int, vocabulary: dict[str, int]) -> list[dict[str, Any]]:
    draw = random.Random(feature)
    texts = [
        *((f"decile_{i % 10}", _fires(unit, draw), 25.0) for i in range(30)),
        *(("uniform", _negative(unit, ("",), draw, broad=False), 99000 / 30) for _ in range(30)),
        *(("near_miss", _negative(unit, unit.near, draw, broad=True), 7.0) for _ in range(10)),
        *(("top", _fires(unit, draw), None) for _ in range(8)),
    ]
    return [_row(unit, feature, i, *text, vocabulary) for i, text in enumerate(texts)]


def _fires(unit: PlantedUnit, draw: random.Random) -> str:
    narrow = draw.random() < 0.5
    return _positive(unit, unit.inner if narrow else unit.outer, draw, narrow=narrow)


def _row(
    unit: PlantedUnit, feature: int, i: int, stratum: str, text: str, weight: float | None, vocabulary: dict[str, int]
) -> dict[str, Any]:
    found = passage(text)
    assert unit.exact.explanation.rule is not None
    strength = 1.0 + (int(stratum[-1]) if stratum.startswith("decile") else 10.0 if stratum == "top" else 0.0)
    fires = execute(unit.exact.explanation.rule, found).fires * strength
    return {
        "member": MEMBER,
        "feature": feature,
        "sign": 1,
        "stratum": stratum,
        "weight": weight,
        "document": 1000 * feature + i,
        "row": 100 * (1000 * feature + i),
        "start": 100 * (1000 * feature + i),
        "tokens": [vocabulary.setdefault(piece, len(vocabulary)) for piece in found.texts],
        "activations": np.asarray(fires, np.float32),
        "peak": int(np.argmax(fires)),
    }
