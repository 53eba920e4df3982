"""An arm of a comparison: members of one report that differ in their seed alone, and what is recorded of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actpipe.analysis.statistics import Measured
from actpipe.errors import Damaged, Missing, Misuse
from actpipe.report.tables import ReportTables, Row

from .units import measured_of


@dataclass(frozen=True, kw_only=True)
class Arm:
    name: str
    report: Path
    summary: dict[str, Any]
    members: list[Row]  # of members.parquet
    configuration: str
    measured: list[Measured]  # of each member its own units
    controls: dict[str, list[Measured]]  # control → of each member one, in their order
    negative_units: int  # alive units that are the negative half of a feature
    tokenizer: str  # hash of the vocabulary

    @property
    def seeds(self) -> list[str]:
        return [each.dictionary for each in self.measured]


def open_arms(texts: Sequence[str], metrics: Sequence[str]) -> list[Arm]:
    """In the order given, each under the shortest name that no other has."""
    arms = [_opened(text, metrics) for text in texts]
    for names in (_short(texts), list(texts)):
        if len(set(names)) == len(names):
            return _renamed(arms, names)
    counted, seen = [], Counter[str]()
    for text in texts:
        seen[text] += 1
        counted.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return _renamed(arms, counted)


def _renamed(arms: Sequence[Arm], names: Sequence[str]) -> list[Arm]:
    return [replace(arm, name=name) for arm, name in zip(arms, names, strict=True)]


def _short(texts: Sequence[str]) -> list[str]:
    """Of members of one report only what tells them apart."""
    parts = [_place(text) for text in texts]
    if all(chosen for _, chosen in parts) and len({folder for folder, _ in parts}) == 1:
        return [chosen for _, chosen in parts]
    return [folder.resolve().name + (f":{chosen}" if chosen else "") for folder, chosen in parts]


def _place(text: str) -> tuple[Path, str]:
    """The folder and what is asked of it; a folder may have a colon in its name."""
    if Path(text).is_dir() or ":" not in text:
        return Path(text), ""
    folder, _, chosen = text.rpartition(":")
    return Path(folder), chosen


def _opened(text: str, metrics: Sequence[str]) -> Arm:
    folder, chosen = _place(text)
    if not (folder / "summary.json").is_file():
        raise Missing(
            f"There is no report at {folder}; an arm is a folder that `actpipe analyze` wrote, or FOLDER:MEMBER."
        )
    try:
        return _read(text, folder, chosen, metrics)
    except (pa.ArrowInvalid, KeyError) as error:
        raise Damaged(
            f"A table of {folder} cannot be read ({str(error).splitlines()[0]}); rebuild it with "
            "`actpipe analyze --overwrite`."
        ) from error


def _read(text: str, folder: Path, chosen: str, metrics: Sequence[str]) -> Arm:
    tables = ReportTables.open(folder)
    configuration, members = _members(tables, chosen, text)
    found = [measured_of(folder, row, configuration, tables.summary.get("model"), metrics) for row in members]
    names = [name for name in found[0].controls if all(name in each.controls for each in found)]
    return Arm(
        name=text,
        report=folder,
        summary=tables.summary,
        members=members,
        configuration=configuration,
        measured=[each.own for each in found],
        controls={name: [each.controls[name] for each in found] for name in names},
        negative_units=sum(each.negative for each in found),
        tokenizer=hashlib.sha256("\0".join(tables.vocabulary).encode("utf-8", "surrogatepass")).hexdigest()[:16],
    )


def _members(tables: ReportTables, chosen: str, text: str) -> tuple[str, list[Row]]:
    """The member of that name, those that a name with * fits, or all: they must be of one configuration."""
    path = tables.folder / "parquet" / "means.parquet"
    if not path.is_file() or not tables.has("scores"):
        raise Missing(f"{tables.folder} has no scores; rebuild it with `actpipe analyze --overwrite`.")
    rows = pq.read_table(path, columns=["member", "configuration"], filters=[("level", "=", "member")])
    known = dict(zip(rows["member"].to_pylist(), rows["configuration"].to_pylist(), strict=True))
    fitting = [name for name in known if fnmatchcase(name, chosen)] if "*" in chosen else []
    members = tables.chosen(tuple(fitting) or ((chosen,) if chosen else ()))
    found = {str(known.get(row["member"]) or row["member"]) for row in members}
    if len(found) != 1:
        names = ", ".join(row["member"] for row in members)
        raise Misuse(
            f"{text} names {len(found)} different configurations, and an arm is one; name a member, as in "
            f"{tables.folder}:{members[0]['member'] if members else 'MEMBER'}. There are {names}."
        )
    return found.pop(), members
