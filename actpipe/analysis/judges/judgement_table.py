"""Tables `judgements` and `explanations` of a report, and `judges.json`: rows of one judge beside those of others."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actpipe.analysis.schemas import METADATA
from actpipe.files import write_bytes, write_json

from .estimates import Measure
from .exam import Grade
from .judging import SHUFFLED, Judgement
from .questions import Explanation

_UNIT = [("member", pa.string()), ("feature", pa.int32()), ("sign", pa.int8())]
JUDGEMENTS = pa.schema(
    [
        *_UNIT,
        ("protocol", pa.string()),  # detection, discrimination …; `explanation`: whether one was written at all
        ("judge", pa.string()),  # backend:model
        ("source", pa.string()),  # whose explanation was judged: a judge, or rules
        ("control", pa.string()),  # null, or shuffled_explanation: of another unit of the member
        ("metric", pa.string()),
        ("value", pa.float64()),  # null where undefined
        ("low", pa.float64()),  # 95 % interval over windows or pairs; null where it has none
        ("high", pa.float64()),
        ("n", pa.int32()),  # windows, pairs or trials asked about
        ("failed", pa.int32()),  # of them without an answer of the right form
        ("exam_grade", pa.float64()),  # balanced accuracy with true explanations of planted units; null without exam
        ("certified", pa.bool_()),  # whether the judge passed the exam
    ],
    metadata=METADATA,
)
EXPLANATIONS = pa.schema(
    [*_UNIT, ("source", pa.string()), ("text", pa.string()), ("rule", pa.string()), ("budget", pa.int32())],
    metadata=METADATA,
)
_FORMAT = "actpipe-judges"


def judgements_table(found: Iterable[Judgement], judge: str, grade: Grade | None) -> pa.Table:
    rows = [
        {
            **_key(judgement),
            "protocol": protocol,
            "judge": judge,
            "source": _source(judgement),
            "control": control,
            **_numbers(measure),
            "exam_grade": None if grade is None or not grade.decides else grade.exact,
            "certified": grade is not None and grade.certified,
        }
        for judgement in found
        for control, by_protocol in ((None, judgement.measures), (SHUFFLED, judgement.control))
        for protocol, measures in by_protocol.items()
        for measure in measures
    ]
    return pa.Table.from_pylist(rows, schema=JUDGEMENTS)


def explanations_table(found: Iterable[Judgement], judge: str) -> pa.Table:
    """Those that the judge wrote itself."""
    written = [(j, j.explanation) for j in found if j.explanation is not None and j.explanation.source == judge]
    rows = [_key(judgement) | _text(explanation) for judgement, explanation in written]
    return pa.Table.from_pylist(rows, schema=EXPLANATIONS)


def put_judgements(report: Path, new: pa.Table) -> None:
    """In place of earlier ones of the same judge, protocol and source."""
    _put(report / "parquet" / "judgements.parquet", new, ("judge", "protocol", "source"))


def put_explanations(report: Path, new: pa.Table) -> None:
    _put(report / "parquet" / "explanations.parquet", new, ("source",))


def put_judge(report: Path, name: str, entry: dict[str, Any]) -> None:
    path = report / "judges.json"
    known: dict[str, Any] = {}
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8")).get("judges", {})
    write_json(path, {"format": _FORMAT, "version": 1, "judges": known | {name: entry}})


def _put(path: Path, new: pa.Table, keys: Sequence[str]) -> None:
    if path.is_file():
        old = pq.read_table(path)
        replaced = {tuple(row.values()) for row in new.select(keys).group_by(list(keys)).aggregate([]).to_pylist()}
        keep = pa.array([tuple(row.values()) not in replaced for row in old.select(keys).to_pylist()], pa.bool_())
        new = pa.concat_tables([old.filter(keep), new.select(old.schema.names).cast(old.schema)])
    new = new.take(pc.sort_indices(new, [(name, "ascending") for name in ("member", "feature", "sign")]))
    buffer = io.BytesIO()
    pq.write_table(new, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def _key(of: Judgement) -> dict[str, Any]:
    return {"member": of.unit.member, "feature": of.unit.feature, "sign": of.unit.sign}


def _source(of: Judgement) -> str | None:
    return None if of.explanation is None else of.explanation.source


def _text(of: Explanation) -> dict[str, Any]:
    return {"source": of.source, "text": of.text, "rule": of.rule, "budget": None}


def _numbers(of: Measure) -> dict[str, Any]:
    """NaN becomes null."""
    numbers = {name: getattr(of, name) for name in ("value", "low", "high")}
    return {
        "metric": of.metric,
        **{name: None if number != number else float(number) for name, number in numbers.items()},
        "n": of.n,
        "failed": of.failed,
    }
