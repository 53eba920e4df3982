"""Panels written by several processes are those that one writes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from actpipe.errors import Failure
from actpipe.report import page, panel_processes, write_report
from actpipe.report.tables import ReportTables

from .report_scores import write_scores
from .report_tables import write_tables

UNITS = 70  # of each dictionary: a shard of 64 holds the end of one and the beginning of the next


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_scores(folder, write_tables(folder, features=UNITS))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    found = [folder / "index.html", *(folder / "data").rglob("*.js")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_several_processes_write_the_same_page(report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    write_report(report)
    alone = files(report)
    monkeypatch.setattr(page, "processes_for", lambda wanted: 3)
    monkeypatch.setattr(panel_processes, "processes_for", lambda wanted: 3)
    write_report(report, told.append)
    assert files(report) == alone
    n = len(ReportTables.open(report).members) * UNITS
    assert len(told) == -(-n // 64) == sum(name.startswith("data/units/") for name in alone)


def test_a_process_that_fails_leaves_no_page_that_looks_whole(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(report, broken)
    monkeypatch.setattr(page, "processes_for", lambda wanted: 2)
    monkeypatch.setattr(panel_processes, "processes_for", lambda wanted: 2)
    started = panel_processes._started

    def without_its_tables(folder: Path, wanted: range) -> Any:
        return started(folder if wanted.start == 0 else folder / "nowhere", wanted)

    monkeypatch.setattr(panel_processes, "_started", without_its_tables)
    with pytest.raises(Failure, match="ended with 1"):
        write_report(broken)
    assert not (broken / "index.html").exists()


def test_a_shard_written_alone_is_the_same(report: Path, tmp_path: Path) -> None:
    write_report(report)
    alone = tmp_path / "alone"
    shutil.copytree(report, alone, ignore=shutil.ignore_patterns("data"))
    said: list[str] = []
    panel_processes.write_shards(alone, range(1, 3), said.append)
    written = {path.name: path.read_bytes() for path in (alone / "data" / "units").iterdir()}
    assert set(written) == {"1.js", "2.js"}
    assert all(content == (report / "data" / "units" / name).read_bytes() for name, content in written.items())
    keys, digests, tokens = zip(*map(json.loads, said), strict=True)
    assert keys == ("units/1", "units/2")
    assert list(digests) == [hashlib.sha256(written[f"{i}.js"]).hexdigest() for i in (1, 2)]
    assert all(tokens)
