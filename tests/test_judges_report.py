"""A judge works on the tables of a finished report: what it finds, where it stops, what it leaves."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actpipe.analysis.judges import PROTOCOLS, JudgeConfig, JudgeResult, judge
from actpipe.analysis.judges.calls import Patience
from actpipe.analysis.judges.judgement_table import JUDGEMENTS
from actpipe.analysis.judges.report_tables import ReportTables
from actpipe.analysis.judges.windows import SHOWN
from actpipe.errors import Failure, Missing, Misuse
from cli.judge import _described, _lines

from .judge_reports import MEMBER, SAMPLES, planted_report
from .judge_server import JudgeServer, Response, chat, judge_server

KEY = "sk-secret-0123456789"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return planted_report(tmp_path / "a report")


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


def config_of(report: Path, server: JudgeServer, **more: Any) -> JudgeConfig:
    given = {"backend": "openai", "model": "m", "base_url": server.url, "protocols": ("detection",), "exam": False}
    return JudgeConfig(report=report, **{**given, "units": 4, **more})


def value(result: JudgeResult, protocol: str, metric: str) -> float:
    return next(m.mean for m in result.means if (m.protocol, m.metric) == (protocol, metric))


def rows(report: Path, table: str = "judgements") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(report / "parquet" / f"{table}.parquet").to_pylist()
    return found


def test_executed_rules_are_right_and_those_of_another_unit_are_not(report: Path) -> None:
    protocols = ("detection", "discrimination", "fuzzing", "simulation")
    result = judge(JudgeConfig(report=report, protocols=protocols, units=6))
    assert result.judged == 6
    assert result.verdict.startswith("certified judge: rules")
    assert value(result, "detection", "f1_std") == pytest.approx(value(result, "detection", "auroc")) == 1.0
    assert value(result, "discrimination", "accuracy") == value(result, "fuzzing", "accuracy") == 1.0
    assert value(result, "discrimination", "collision") == 0.0
    assert value(result, "simulation", "pearson_top_random") > 0.9
    control = {(m.protocol, m.metric): m.control for m in result.means}
    assert control["detection", "f1_std"] < 0.2
    assert control["discrimination", "accuracy"] == pytest.approx(0.5, abs=0.1)
    assert not abs(control["simulation", "pearson_activating"]) > 0.3  # undefined where a wrong rule is silent


def test_an_endpoint_writes_explanations_and_is_graded(report: Path, server: JudgeServer) -> None:
    """Five texts a prompt: the whole exam in 1,000 calls."""
    server.logprobs = False
    result = judge(config_of(report, server, exam=True, units=3, protocols=("detection", "discrimination")))
    assert result.grade is not None
    assert result.grade.certified
    assert value(result, "detection", "f1_std") == 1.0
    written = [row for row in rows(report, "explanations") if row["source"] == "openai:m"]
    rules = {row["feature"]: row["text"] for row in rows(report, "explanations") if row["source"] == "rules"}
    assert len(written) == 3
    assert all(row["text"] == rules[row["feature"]] for row in written)
    assert all(row["certified"] and row["exam_grade"] == 1.0 for row in rows(report))
    entry = json.loads((report / "judges.json").read_text())["judges"]["openai:m"]
    assert entry["verdict"].startswith("certified judge")
    assert entry["spent"]["calls"] == len(server.requests)


def test_the_explainer_sees_no_document_that_is_scored(report: Path) -> None:
    shares = []
    for unit in ReportTables(report).read(MEMBER, [(i, 1) for i in range(6)], seed=0):
        shown, scored = ({w.document for w in windows} for windows in (unit.shown, unit.scored))
        assert shown
        assert not shown & scored
        shares.append(len(shown) / len(shown | scored))
        # What is left of a stratum stands for all of it.
        for stratum, total in (("decile_3", 3 * 25.0), ("uniform", 99000.0), ("near_miss", 70.0)):
            assert sum(w.weight for w in unit.scored if w.stratum == stratum) == pytest.approx(total)
        assert sum(w.weight for w in unit.some(lambda w: w.is_silent, 7)) == pytest.approx(99000.0)
    assert np.mean(shares) == pytest.approx(SHOWN, abs=0.08)


def test_a_judge_is_told_neither_truth_nor_strata(report: Path, server: JudgeServer) -> None:
    judge(config_of(report, server, units=1, shuffled=False))
    """Two texts that differ in nothing but a unit's number and activations lead to the same prompts."""
    asked = [body["messages"][-1]["content"] for _, body, _ in server.requests]
    assert len(asked) > 20
    assert not [text for text in asked for word in ("decile", "uniform", "near_miss", "weight") if word in text]
    path, server.requests = report / "parquet" / "samples.parquet", []
    renamed = pq.read_table(path).to_pylist()
    for row in renamed:
        row["weight"] = None if row["weight"] is None else row["weight"] * 3
        row["activations"] = [2 * a for a in row["activations"]]
    pq.write_table(pa.Table.from_pylist(renamed, schema=SAMPLES), path)
    judge(config_of(report, server, units=1, shuffled=False))
    assert server.requests == []  # everything was in the cache


def test_the_table_is_documented_and_typed(report: Path) -> None:
    judge(JudgeConfig(report=report, units=2))
    table = pq.read_table(report / "parquet" / "judgements.parquet")
    assert table.schema.equals(JUDGEMENTS)
    assert {row["control"] for row in table.to_pylist()} == {None, "shuffled_explanation"}
    page = Path(__file__).parent.parent / "docs" / "how-to" / "judges.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in JUDGEMENTS.names if f"`{name}`" not in text] == []
    assert [name for name in PROTOCOLS if f"`{name}`" not in text] == []
    assert [m for m in {row["metric"] for row in table.to_pylist()} if f"`{m}`" not in text] == []


def test_a_rehearsal_sends_nothing_writes_nothing_and_counts(report: Path, server: JudgeServer) -> None:
    before = sorted(p for p in report.parent.rglob("*"))
    options: dict[str, Any] = {"units": 2, "input_price": 2.0, "output_price": 0.0}
    planned = judge(config_of(report, server, dry_run=True, **options))
    assert server.requests == []
    assert _lines(config_of(report, server, dry_run=True, **options), planned)[0].startswith("2 units would be judged;")
    assert sorted(p for p in report.parent.rglob("*")) == before
    assert planned.spent is not None
    assert planned.usd == pytest.approx(2.0 * planned.spent.input_tokens / 1e6)
    done = judge(config_of(report, server, **options))
    assert done.spent is not None
    # The three questions of the probe are not rehearsed; explanations that turn out alike are bought once.
    assert 0.8 * done.spent.calls <= planned.spent.calls + 2 <= 1.2 * done.spent.calls
    assert planned.spent.input_tokens > 0.8 * done.spent.input_tokens
    again = judge(config_of(report, server, dry_run=True, **options))
    assert again.spent is not None
    assert again.spent.calls == 0  # all of it is cached


def test_a_run_that_is_repeated_costs_nothing_and_finds_the_same(report: Path, server: JudgeServer) -> None:
    judge(config_of(report, server, units=2))
    first, asked = rows(report), len(server.requests)
    result = judge(config_of(report, server, units=2))
    assert len(server.requests) == asked
    assert result.spent is not None
    assert result.spent.calls == 0
    assert rows(report) == first


def test_a_budget_ends_the_run_with_whole_units_and_the_next_run_goes_on(report: Path, server: JudgeServer) -> None:
    whole = judge(config_of(report, server, cache=report.parent / "other.sqlite"))
    expected, needed = rows(report), len(server.requests)
    (report / "parquet" / "judgements.parquet").unlink()
    server.requests.clear()
    part = judge(config_of(report, server, max_calls=needed // 2, concurrency=3))
    assert part.stopped is not None
    assert "it was not sent" in part.stopped
    assert len(server.requests) == needed // 2
    assert 0 < part.judged < 4
    assert part.left_out == 4 - part.judged
    found = rows(report)
    complete = {row["feature"] for row in found}
    assert len(complete) == part.judged
    assert found == [row for row in expected if row["feature"] in complete]
    rest = judge(config_of(report, server))
    assert (rest.stopped, rest.judged) == (None, whole.judged)
    assert len(server.requests) == needed
    assert rows(report) == expected


def test_an_endpoint_that_breaks_down_leaves_what_was_judged(
    report: Path, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actpipe.analysis.judges.backends.Patience", partial(Patience, first_s=0.001))
    server.trouble = lambda n, body: Response(500, b"no") if n > 150 else None
    result = judge(config_of(report, server, retries=1, concurrency=2))
    assert result.stopped is not None
    assert "20 times in a row" in result.stopped
    assert 0 < result.judged < 4
    server.trouble = lambda n, body: None
    assert judge(config_of(report, server)).judged == 4


def test_failed_answers_are_counted_and_not_dropped(report: Path, server: JudgeServer) -> None:
    def trouble(n: int, body: dict[str, Any]) -> Response | None:
        return chat(body, "no idea") if "quiet" in str(body) and "fire anywhere" in str(body) else None

    server.trouble = trouble
    judge(config_of(report, server, units=2, shuffled=False))
    found = [row for row in rows(report) if row["metric"] == "auroc"]
    assert all(row["failed"] > 0 and row["n"] > 20 for row in found)
    assert all(row["value"] is not None for row in found)


def test_an_explainer_without_words_leaves_a_row_that_says_so(report: Path, server: JudgeServer) -> None:
    server.trouble = lambda n, body: chat(body, "It is complicated.") if "Explain in at most" in str(body) else None
    result = judge(config_of(report, server, units=2))
    assert result.judged == 2
    found = rows(report)
    assert [(row["metric"], row["value"], row["failed"]) for row in found] == [("written", 0.0, 1)] * 2
    assert {row["source"] for row in found} == {None}


def test_the_key_is_read_from_a_named_variable_and_left_nowhere(
    report: Path, server: JudgeServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    judge(config_of(report, server, units=1, key_variable="MY_KEY"))
    assert server.requests[0][2]["Authorization"] == f"Bearer {KEY}"
    files = [path for path in report.parent.rglob("*") if path.is_file()]
    assert any(path.name == "judge-calls.sqlite" for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in "".join(capfd.readouterr())
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(Missing, match="The environment variable MY_KEY is empty"):
        judge(config_of(report, server, key_variable="MY_KEY"))


def test_without_a_named_variable_no_key_is_sent(report: Path, server: JudgeServer) -> None:
    judge(config_of(report, server, units=1))
    assert all("Authorization" not in headers for _, _, headers in server.requests)


def test_the_cache_holds_responses_and_no_prompt(report: Path, server: JudgeServer) -> None:
    judge(config_of(report, server, units=1))
    database = sqlite3.connect(report.parent / "judge-calls.sqlite")
    found = database.execute("SELECT length(key), backend, model, response, input_tokens FROM calls").fetchall()
    database.close()
    assert len(found) == len(server.requests)
    assert all(row[:3] == (64, "openai", "m") and "choices" in row[3] and row[4] > 0 for row in found)


def test_judges_stand_beside_each_other(report: Path, server: JudgeServer) -> None:
    judge(JudgeConfig(report=report, units=2))
    judge(config_of(report, server, units=2))
    judge(JudgeConfig(report=report, units=2, protocols=("fuzzing",)))
    found = {(row["judge"], row["protocol"]) for row in rows(report)}
    both = {("rules", p) for p in ("detection", "discrimination", "fuzzing", "explanation")}
    assert found == both | {("openai:m", "detection"), ("openai:m", "explanation")}
    assert set(json.loads((report / "judges.json").read_text())["judges"]) == {"rules", "openai:m"}


def test_intruder_and_surprisal_run_on_an_endpoint(report: Path, server: JudgeServer) -> None:
    result = judge(config_of(report, server, units=2, protocols=("intruder", "surprisal")))
    assert 0.0 <= value(result, "intruder", "accuracy") <= 0.6
    assert not math.isnan(value(result, "surprisal", "auroc"))
    assert all(row["protocol"] != "intruder" for row in rows(report) if row["control"] is not None)


def test_units_with_too_few_windows_are_left_out(report: Path) -> None:
    path = report / "parquet" / "samples.parquet"
    table = pq.read_table(path)
    few = [not (row["feature"] == 2 and row["stratum"].startswith("decile")) for row in table.to_pylist()]
    pq.write_table(table.filter(pa.array(few)), path)
    assert judge(JudgeConfig(report=report, units=6)).judged == 5


def test_one_unit_has_a_mean_and_no_interval(report: Path) -> None:
    config = JudgeConfig(report=report, units=1, exam=False)
    result = judge(config)
    lines = _lines(config, result)
    (mean,) = (line for line in lines if " detection tpr " in line)
    assert mean == f"  {MEMBER}  detection tpr 1.000 over 1 unit, which has no interval"
    assert "1 unit judged." in lines
    assert not any("nan" in line for line in lines)
    described = _described(config, result)
    json.dumps(described, allow_nan=False)
    assert all(each["low"] is None for each in described["means"])


def test_units_are_drawn_by_the_seed(report: Path) -> None:
    def drawn(seed: int) -> set[int]:
        judge(JudgeConfig(report=report, units=3, exam=False, seed=seed))
        return {row["feature"] for row in rows(report)}

    assert drawn(0) == drawn(0)
    assert len({frozenset(drawn(seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocols": ("detektion",)}, "'detektion' is not known; there are detection"),
        ({"protocols": ("surprisal",)}, "rules cannot be asked for surprisal; it can for detection"),
        ({"members": ("nobody",)}, "The report has no member 'nobody'; it has 000-planted"),
        ({"explanations": "own"}, "rules writes no explanations"),
        ({"explanations": "somebody"}, "The report has no explanations by 'somebody'"),
    ],
)
def test_what_cannot_be_judged_is_said(change: dict[str, Any], message: str, report: Path) -> None:
    with pytest.raises(Misuse, match=message):
        judge(JudgeConfig(report=report, **{"exam": False, **change}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "openai"}, "needs a model"),
        ({"backend": "openai", "model": "m"}, "needs an address"),
        ({"units": 0}, "units is 0"),
        ({"exam_units": 50}, "exam_units is 50, and the exam has 40 planted units"),
        ({"timeout_s": 0.0}, "timeout is 0"),
        ({"protocols": ()}, "nothing to ask"),
    ],
)
def test_configurations_without_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Misuse, match=message):
        JudgeConfig(report=Path("r"), **change)


def test_a_folder_without_windows_is_missing_something(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="there are no windows to judge"):
        judge(JudgeConfig(report=tmp_path))


def test_an_exam_that_is_broken_off_leaves_no_number(report: Path, server: JudgeServer) -> None:
    with pytest.raises(Failure, match="it was not sent"):
        judge(config_of(report, server, exam=True, max_calls=50))
    assert not (report / "parquet" / "judgements.parquet").exists()


def test_the_standard_f1_is_that_of_its_rates_at_one_in_a_hundred(report: Path) -> None:
    judge(JudgeConfig(report=report, units=6, exam=False))
    control = [row for row in rows(report) if row["control"] and row["metric"] in ("tpr", "fpr", "f1_std")]
    by_unit: dict[int, dict[str, float]] = {}
    for row in control:
        by_unit.setdefault(row["feature"], {})[row["metric"]] = row["value"]
    for found in by_unit.values():
        hits, false = 0.01 * found["tpr"], 0.99 * found["fpr"]
        assert found["f1_std"] == pytest.approx(2 * hits / (hits + false + 0.01))
    assert np.isfinite([found["f1_std"] for found in by_unit.values()]).all()
