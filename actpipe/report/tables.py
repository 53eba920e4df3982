"""The tables of a report folder, as docs/reference/report-format.md defines them, read one dictionary at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import dataset

from actpipe.errors import Damaged, Mismatch, Missing, Misuse

FORMAT = "actpipe-report"
VERSION = 1
PART = 1 << 14  # rows read at once of tables with many a unit

Row = dict[str, Any]  # one row of a table: column → value, null as None


@dataclass(frozen=True, kw_only=True)
class ReportTables:
    folder: Path
    summary: dict[str, Any]
    members: list[Row]
    vocabulary: list[str]

    @classmethod
    def open(cls, folder: Path) -> ReportTables:
        summary = _json(folder, "summary.json")
        _check_version(summary, folder)
        return cls(
            folder=folder,
            summary=summary,
            members=pq.read_table(_with_columns(folder, "members", ("member",))).to_pylist(),
            vocabulary=_json(folder, str(summary.get("vocabulary", "vocabulary.json"))),
        )

    def of_member(self, table: str, member: str, columns: list[str] | None = None, **among: Sequence[Any]) -> pa.Table:
        """Rows of one dictionary, in the order of the file; only these are held in memory. `among`: column → values."""
        filters = [("member", "=", member), *((name, "in", list(values)) for name, values in among.items())]
        path = self._path(table, (*(columns or ()), *among))
        found = pq.read_table(path, columns=columns, filters=filters)
        return _numbered(found, self._width(member)) if "sign" in found.column_names else found

    def parts_of_member(self, table: str, member: str, columns: list[str]) -> Iterator[pa.Table]:
        """The same a part at a time, for tables that need not fit into memory."""
        found = dataset.dataset(self._path(table, columns)).scanner(
            columns=columns, filter=pc.field("member") == member, batch_size=PART, batch_readahead=2
        )
        for batch in found.to_batches():
            if batch.num_rows:
                yield _numbered(pa.Table.from_batches([batch]), self._width(member))

    def require(self, needed: Mapping[str, Sequence[str]]) -> None:
        """Damaged where a table that is there lacks a column. `needed`: table → columns."""
        for table, columns in needed.items():
            if self.has(table):
                _with_columns(self.folder, table, columns)

    def _path(self, table: str, columns: Sequence[str] = ()) -> Path:
        return _with_columns(self.folder, table, ("member", *columns))

    def rows(self, table: str) -> list[Row]:
        """All of a small table; none where it is absent."""
        return [dict(row) for row in pq.read_table(self._path(table)).to_pylist()] if self.has(table) else []

    @property
    def names(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "parquet").glob("*.parquet"))

    def has(self, table: str) -> bool:
        return (self.folder / "parquet" / f"{table}.parquet").is_file()

    def means(self, metrics: Sequence[str]) -> list[Row]:
        """Of these metrics, over all alive units of each member; none in a report from before they were computed."""
        if not self.has("means"):
            return []
        wanted = [("level", "=", "member"), ("stratum", "=", "all"), ("weighting", "=", "units")]
        path = _existing(self.folder, "parquet/means.parquet")
        rows = pq.read_table(path, filters=[*wanted, ("metric", "in", list(metrics))]).to_pylist()
        return [dict(row) for row in rows]

    def chosen(self, names: tuple[str, ...]) -> list[Row]:
        """The members of these names, in the report's order; all when there are none."""
        known = [row["member"] for row in self.members]
        if unknown := [name for name in names if name not in known]:
            raise Misuse(f"The report has no member {unknown[0]!r}; it has {', '.join(known)}.")
        return [row for row in self.members if not names or row["member"] in names]

    def _width(self, member: str) -> int:
        return next(int(row["width"]) for row in self.members if row["member"] == member)


def _numbered(table: pa.Table, width: int) -> pa.Table:
    """The page has one number a unit: negative halves of features go on from the width."""
    negative = pc.cast(pc.less(table["sign"], 0), pa.int32())
    number = pc.add(table["feature"], pc.multiply(negative, pa.scalar(width, pa.int32())))
    return table.set_column(table.column_names.index("feature"), "feature", number)


def _with_columns(folder: Path, table: str, columns: Sequence[str]) -> Path:
    path = _existing(folder, f"parquet/{table}.parquet")
    try:
        known = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise Damaged(
            f"{path} is not a readable Parquet table ({str(error).splitlines()[0]}); rebuild the report with "
            "`actpipe analyze --overwrite`."
        ) from error
    if missing := [column for column in columns if column not in known]:
        raise Damaged(
            f"{path} has no column {missing[0]!r}: it is damaged, or of another version of actpipe. Rebuild the report "
            "with `actpipe analyze --overwrite`."
        )
    return path


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise Missing(
            f"{folder} has no {name}, so there is no report to write; run `actpipe analyze` to make its tables."
        )
    return path


def _json(folder: Path, name: str) -> Any:
    path = _existing(folder, name)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Damaged(
            f"{path} is not readable JSON ({error}); run `actpipe analyze --overwrite` to rebuild it."
        ) from error


def _check_version(summary: dict[str, Any], folder: Path) -> None:
    found = (summary.get("format"), summary.get("version"))
    if found != (FORMAT, VERSION):
        raise Mismatch(
            f"{folder / 'summary.json'} says format {found[0]!r} version {found[1]!r}, and this actpipe reads "
            f"{FORMAT!r} version {VERSION}; rebuild it with `actpipe analyze --overwrite`."
        )
