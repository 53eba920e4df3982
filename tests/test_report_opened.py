"""A report and a comparison opened from Python, and the notebook that does so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import actpipe
from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.compare import CompareConfig, compare
from actpipe.compare.opened import Comparison
from actpipe.errors import Damaged, Mismatch, Missing
from actpipe.report.opened import Report
from actpipe.report.unit import Unit, Window
from tests.small_run import DEAD_UNIT, TOKEN_UNIT, make_run, make_store

HOSTILE = ("</script><img src=x onerror=alert(1)>", "\u202eevil", "&lt;")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opened")
    run = make_run(folder / "run", make_store(folder / "store.zarr"))
    analyze(AnalyzeConfig(run=run, out=folder / "report", scores="rules,concepts"))
    return folder


@pytest.fixture
def report(folder: Path) -> Report:
    opened = actpipe.open_report(folder / "report")
    assert isinstance(opened, Report)
    return opened


def test_a_report_says_what_it_is_and_has_every_table(report: Report, folder: Path) -> None:
    assert "10 units of 2 members" in repr(report)
    assert report.members == ["sparse", "dense"]
    for name in report.names:
        assert report.table(name) == pq.read_table(folder / "report" / "parquet" / f"{name}.parquet")


def test_rows_and_columns_are_chosen(report: Report) -> None:
    found = report.frame("units", ["feature", "density"], where={"member": "dense", "alive": True})
    assert list(found.columns) == ["feature", "density"]
    assert (found["density"] > 0).all()
    assert len(found) < report.table("units").num_rows


def test_units_join_what_the_tables_say_of_them(report: Report) -> None:
    units = report.units()
    assert len(units) == 10
    scores = report.table("scores", where={"member": "sparse", "feature": TOKEN_UNIT, "metric": "rules_f1_std"})
    own = [row["value"] for row in scores.to_pylist() if row["control"] is None]
    assert [units.loc[("sparse", TOKEN_UNIT, 1), "rules_f1_std"]] == own
    assert "fires on" in units.loc[("sparse", TOKEN_UNIT, 1), "rules"]
    assert all(token in report.vocabulary for token in units.loc[("sparse", TOKEN_UNIT, 1), "top_tokens"])
    assert len(report.units("dense")) == 5


def test_means_are_those_of_all_units_with_their_control_and_verdict(report: Report) -> None:
    means = report.means("rules_f1_std")
    assert sorted(means["member"]) == ["dense", "sparse"]
    assert (means["low"] <= means["mean"]).all()
    assert set(means["verdict"]) <= {"better", "worse", "equivalent", "undecided"}


def test_a_unit_shows_its_explanation_and_its_texts(report: Report) -> None:
    unit = report.unit("sparse", TOKEN_UNIT)
    assert unit.explanations["rules"] in repr(unit)
    assert f"«{unit.windows[0].tokens[unit.windows[0].peak]}»" in repr(unit)
    peaks = [window.activations[window.peak] for window in unit.windows]
    assert peaks == sorted(peaks, reverse=True)
    assert unit.scores["rules_f1_std"] is not None


def test_a_dead_unit_has_no_texts(report: Report) -> None:
    assert report.unit("sparse", DEAD_UNIT).windows == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda report: report.unit("sparse", 77), "sparse has no unit 77"),
        (lambda report: report.unit("other", 0), "no member 'other'; it has sparse, dense"),
        (lambda report: report.table("nothing"), "no table 'nothing'; it has"),
        (lambda report: report.table("units", where={"colour": 1}), "no column 'colour'"),
    ],
)
def test_what_is_not_there_is_said(report: Report, asked: object, said: str) -> None:
    with pytest.raises(Missing, match=said):
        asked(report)  # type: ignore[operator]


def test_token_text_is_data_in_a_notebook() -> None:
    unit = Unit(
        "a<b", 0, 1, {"density": 0.5}, {}, {"judge<": HOSTILE[0]}, [Window(HOSTILE, (1.0, 0.5, 0.0), 0, 0, 0, 0)]
    )
    page = unit._repr_html_()
    assert "<img" not in page
    assert "<script" not in page
    assert "&amp;lt;" in page  # "&lt;" is a text of four characters and stays one
    assert page.count("unicode-bidi:isolate") == len(HOSTILE)


def test_a_comparison_opens_by_the_same_name(folder: Path, tmp_path: Path) -> None:
    compare(CompareConfig(arms=(f"{folder}/report:sparse", f"{folder}/report:dense"), out=tmp_path / "compared"))
    opened = actpipe.open_report(tmp_path / "compared")
    assert isinstance(opened, Comparison)
    assert opened.arms == ["sparse", "dense"]
    assert opened.table("verdicts").num_rows > 0
    assert opened.verdicts


def test_what_another_version_wrote_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "report", tmp_path / "report")
    summary = tmp_path / "report" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"version": 99}))
    with pytest.raises(Mismatch, match="version 99"):
        actpipe.open_report(tmp_path / "report")
    (tmp_path / "compare.json").write_text('{"format": "actpipe-comparison", "version": 99}')
    with pytest.raises(Mismatch, match="version 99"):
        actpipe.open_report(tmp_path)
    (tmp_path / "compare.json").write_text("{")
    with pytest.raises(Damaged, match="run the same `actpipe compare` again"):
        actpipe.open_report(tmp_path)
