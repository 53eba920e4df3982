"""A report whose tables lack a column, or are no tables: a sentence, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actpipe.errors import Damaged
from actpipe.report import write_report
from actpipe.report.needed import NEEDED
from actpipe.report.tables import ReportTables
from tests.command_line import run
from tests.report_scores import write_scores
from tests.report_tables import write_tables

REMEDY = "Rebuild the report with `actpipe analyze --overwrite`."


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    folder.mkdir()
    write_scores(folder, write_tables(folder, features=12))
    return folder


def without(path: Path, column: str) -> None:
    pq.write_table(pq.read_table(path).drop_columns([column]), path)


def test_a_column_that_the_page_needs_is_named_in_a_sentence(report: Path) -> None:
    for table, columns in NEEDED.items():
        path = report / "parquet" / f"{table}.parquet"
        whole = pq.read_table(path)
        for column in columns:
            pq.write_table(whole.drop_columns([column]), path)
            with pytest.raises(Damaged) as raised:
                write_report(report)
            assert str(raised.value).startswith(f"{path} has no column {column!r}: ")
            assert str(raised.value).endswith(REMEDY)
        pq.write_table(whole, path)
    assert not (report / "index.html").exists()


def test_no_other_column_is_needed(report: Path) -> None:
    for table in ReportTables.open(report).names:
        path = report / "parquet" / f"{table}.parquet"
        whole = pq.read_table(path)
        pq.write_table(whole.select([name for name in whole.column_names if name in NEEDED[table]]), path)
    assert write_report(report).is_file()


def test_columns_are_named_where_a_table_is_read(report: Path) -> None:
    without(report / "parquet" / "samples.parquet", "stratum")
    tables = ReportTables.open(report)
    member = tables.members[0]["member"]
    with pytest.raises(Damaged, match="has no column 'stratum'"):
        next(tables.parts_of_member("samples", member, ["member", "stratum"]))
    with pytest.raises(Damaged, match="has no column 'stratum'"):
        tables.of_member("samples", member, stratum=["uniform"])


def test_what_is_no_table_is_named(report: Path) -> None:
    (report / "parquet" / "units.parquet").write_bytes(b"not a table")
    with pytest.raises(Damaged, match=r"units\.parquet is not a readable Parquet table"):
        write_report(report)


def test_the_command_fails_with_the_sentence(report: Path) -> None:
    write_report(report)
    without(report / "parquet" / "units.parquet", "density")
    done = run(report.parent, "single-file", "report")
    assert (done.returncode, done.stdout) == (1, "")
    assert "units.parquet has no column 'density'" in done.stderr
    assert "Traceback" not in done.stderr
