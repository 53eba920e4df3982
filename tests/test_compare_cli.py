"""`actpipe compare` on reports that `actpipe analyze` wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actpipe.analysis import analyze
from actpipe.analysis.config import AnalyzeConfig
from tests.command_line import ROOT, run
from tests.small_run import make_run, make_store
from tests.test_docs import commands
from tests.test_guides import understood


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the reports `crate-report`, its copy `twin` and, on another text, `topk-report`."""
    folder = tmp_path_factory.mktemp("arms")
    for seed, name in enumerate(("crate-report", "topk-report")):
        store = make_store(folder / f"{name}.zarr", seed=seed)
        analyze(AnalyzeConfig(run=make_run(folder / f"{name}-sae", store), out=folder / name, scores="rules"))
    shutil.copytree(folder / "crate-report", folder / "twin")
    return folder


def test_two_reports_are_compared_and_everything_says_the_same(reports: Path) -> None:
    done = run(reports, "compare", "crate-report", "topk-report", "--out", "made/compare")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    out = reports / "made" / "compare"
    assert sorted(path.name for path in out.iterdir()) == [
        "assets", "compare.json", "data", "figures", "index.html", "parquet", "summary.md"
    ]  # fmt: skip
    written = json.loads((out / "compare.json").read_text())
    assert [arm["arm"] for arm in written["arms"]] == ["crate-report", "topk-report"]
    for said in (*written["claims"], *written["verdicts"], *(lint["text"] for lint in written["lints"])):
        assert said in (out / "summary.md").read_text().replace("&lt;", "<")
    assert done.stdout.replace("\n", " ").startswith(written["claims"][0])
    for place in ("index.html", "summary.md", "figures", "parquet"):
        assert f"made/compare/{place}" in done.stdout
    assert any(lint["name"] == "few seeds" for lint in written["lints"])
    table = pq.read_table(out / "parquet" / "verdicts.parquet").to_pylist()
    assert {row["verdict"] for row in table} <= {"undecided", "no overlap"}  # a few units an arm decide nothing


def test_means_are_those_of_the_report(reports: Path) -> None:
    assert run(reports, "compare", "crate-report", "topk-report", "--out", "means", "--quiet").returncode == 0
    found = pq.read_table(reports / "means" / "parquet" / "means.parquet").to_pylist()
    known = pq.read_table(reports / "crate-report" / "parquet" / "means.parquet").to_pylist()
    of_report = {
        (row["metric"], row["stratum"]): row
        for row in known
        if (row["level"], row["weighting"]) == ("configuration", "units")
    }
    compared = [row for row in found if row["arm"] == "crate-report" and row["metric"].startswith("rules")]
    assert len(compared) >= 6
    for row in compared:
        expected = of_report[row["metric"], row["stratum"]]
        for name in ("mean", "control", "control_mean", "delta", "n", "undefined", "dead", "seeds"):
            assert row[name] == pytest.approx(expected[name]), (row["metric"], name)


def test_a_copy_does_not_differ(reports: Path) -> None:
    done = run(reports, "compare", "crate-report", "twin", "--out", "copies", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(json.loads(done.stdout)) == {
        "out", "format", "version", "created", "actpipe", "config", "arms", "lints", "claims", "verdicts"
    }  # fmt: skip
    table = pq.read_table(reports / "copies" / "parquet" / "verdicts.parquet").to_pylist()
    assert {row["verdict"] for row in table if row["stratum"] == "all"} == {"no difference"}
    assert "better" not in {row["verdict"] for row in table}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("crate-report",), "A comparison needs two arms or more"),
        (("crate-report", "nowhere"), "There is nothing to compare at nowhere; an arm is a model (actpipe:NAME"),
        (("crate-report", "topk-report:spares"), "The report has no member 'spares'; it has sparse, dense."),
        (("crate-report", "crate-report.zarr"), "does not say which model its rows are from; name the model"),
        (("crate-report", "topk-report", "--seed", "-1"), "--seed -1 is out of range"),
        (
            ("crate-report", "topk-report", "--out", "crate-report-sae"),
            "crate-report-sae exists and is not a comparison",
        ),
    ],
)
def test_a_wrong_turn_is_answered_in_a_sentence(reports: Path, arguments: tuple[str, ...], sentence: str) -> None:
    before = {path.name for path in reports.iterdir()}
    done = run(reports, "compare", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in reports.iterdir()} == before


def test_the_command_makes_a_comparison_anew_in_its_place(reports: Path) -> None:
    for arms in (("crate-report", "topk-report"), ("crate-report:sparse", "crate-report:dense", "topk-report:dense")):
        assert run(reports, "compare", *arms, "--out", "again", "--quiet").returncode == 0
    written = json.loads((reports / "again" / "compare.json").read_text())
    assert [arm["arm"] for arm in written["arms"]] == ["crate-report:sparse", "crate-report:dense", "topk-report:dense"]
    assert not list(reports.rglob("*.partial"))


def test_commands_of_the_guide_run(reports: Path) -> None:
    asked = commands(ROOT / "docs" / "how-to" / "compare.md")
    assert len(asked) == 3
    understood(asked.pop()[1:])  # it trains nothing and reads for minutes
    for command in asked:
        done = run(reports, *command[1:])
        assert done.returncode == 0, f"{command}: {done.stderr}"
