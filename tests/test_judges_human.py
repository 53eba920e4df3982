"""People as judges: a form that tells them nothing, and what they answered."""

from __future__ import annotations

import csv
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actpipe.analysis.judges import JudgeConfig, judge
from actpipe.analysis.judges.exam_text import passage
from actpipe.analysis.judges.human_judge import HumanJudge, read_answers
from actpipe.analysis.judges.human_page import write_form
from actpipe.analysis.judges.questions import Detect, Explanation, Mark, Passage, Tell
from actpipe.errors import Damaged, Missing

from .chromium import needs_chromium, start
from .judge_reports import planted_report
from .judge_server import MEANINGS

HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\"> <!-- <script>&amp;"


def items_of(form: Path) -> list[dict[str, Any]]:
    page = form.read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(re.findall(r'id="items">(.*?)</script>', page)[0])
    return found


def rightly(item: dict[str, Any]) -> int:
    """What a reader answers who understands the explanation."""
    first = "".join(text for text, _ in item["passages"][0])
    return int(MEANINGS[item["explanation"]].holds(first))


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return planted_report(tmp_path / "report", 2)


def test_a_form_is_filled_in_and_read_back(report: Path, tmp_path: Path) -> None:
    config = {"report": report, "backend": "human", "protocols": ("detection", "discrimination"), "name": "anna"}
    first = judge(JudgeConfig(**config))
    assert first.form == report / "judge-form.html"
    assert not (report / "parquet" / "judgements.parquet").exists()
    items = items_of(first.form)
    answers = tmp_path / "answers.csv"
    with open(answers, "w", newline="") as file:
        csv.writer(file).writerows([["item", "answer"], *([item["name"], rightly(item)] for item in items)])
    second = judge(JudgeConfig(**config, answers=answers))
    assert second.form is None
    means = {(m.protocol, m.metric): m.mean for m in second.means}
    assert means["detection", "f1_std"] == means["discrimination", "accuracy"] == 1.0
    assert second.verdict == "uncertified judge: human:anna took no exam"
    found = pq.read_table(report / "parquet" / "judgements.parquet").to_pylist()
    assert {row["judge"] for row in found} == {"human:anna"}
    assert {row["exam_grade"] for row in found} == {None}


def test_half_a_form_counts_what_is_missing_and_asks_for_it(report: Path, tmp_path: Path) -> None:
    config = {"report": report, "backend": "human", "protocols": ("detection",), "shuffled": False}
    form = judge(JudgeConfig(**config)).form
    assert form is not None
    items = items_of(form)
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps({item["name"]: rightly(item) for item in items[::2]}))
    part = judge(JudgeConfig(**config, answers=answers))
    assert part.form is not None
    assert {item["name"] for item in items_of(part.form)} == {item["name"] for item in items[1::2]}
    found = pq.read_table(report / "parquet" / "judgements.parquet").to_pylist()
    assert all(0 < row["failed"] < row["n"] for row in found if row["metric"] == "auroc")


def test_the_form_is_blind(report: Path) -> None:
    form = judge(JudgeConfig(report=report, backend="human", protocols=("detection", "discrimination"))).form
    assert form is not None
    items = items_of(form)
    assert {key for item in items for key in item} == {"name", "kind", "explanation", "passages"}
    page = form.read_text(encoding="utf-8")
    assert not [word for word in ("decile", "near_miss", "uniform", "activation", "000-planted") if word in page]
    truth = [rightly(item) for item in items if item["kind"] == "detect"]
    runs = sum(a != b for a, b in pairwise(truth))
    assert 0 < sum(truth) < len(truth)
    assert runs > len(truth) / 8  # positives are not listed together
    explanations = [item["explanation"] for item in items]
    assert sum(a != b for a, b in pairwise(explanations)) == len(set(explanations)) - 1


def test_the_form_is_one_file_without_network_and_texts_are_data(tmp_path: Path) -> None:
    told = HumanJudge("x", {})
    told.answer(Detect(Explanation(HOSTILE), (passage(HOSTILE),)))
    told.answer(Mark(Explanation("a"), (Passage((0, 1, 2), ("x", " y", " z"), (1,)),)))
    told.answer(Tell(Explanation("b"), ((passage("one"), passage("two")),)))
    write_form(tmp_path / "form.html", told.missing)
    page = (tmp_path / "form.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)
    items = {item["kind"]: item for item in items_of(tmp_path / "form.html")}
    assert items["detect"]["explanation"] == HOSTILE
    assert items["mark"]["passages"] == [[["x", False], [" y", True], [" z", False]]]


@pytest.mark.parametrize("text", ["item;answer\na;1\n", '{"a": "yes"}', '{"a": 2}', "item,answer\na,7\n", "[1]"])
def test_answers_that_are_none_are_damaged(text: str, tmp_path: Path) -> None:
    (tmp_path / "answers").write_text(text)
    with pytest.raises(Damaged, match="answers"):
        read_answers(tmp_path / "answers")


def test_a_file_of_answers_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="is not there"):
        read_answers(tmp_path / "answers.csv")


@needs_chromium
def test_a_reader_answers_in_a_browser_from_a_file(tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    told = HumanJudge("x", {})
    told.answer(Detect(Explanation("bad markup"), (passage(HOSTILE), passage("a plain text"))))
    write_form(tmp_path / "form.html", told.missing)
    driver = start(tmp_path / "profile", downloads=tmp_path / "downloads")
    try:
        driver.get((tmp_path / "form.html").as_uri())
        shown = [driver.find_element(By.TAG_NAME, "blockquote").text]
        driver.find_element(By.TAG_NAME, "body").send_keys("1")
        shown.append(driver.find_element(By.TAG_NAME, "blockquote").text)
        driver.find_elements(By.CSS_SELECTOR, "#answers button")[1].click()
        assert sorted(shown) == sorted([HOSTILE, "a plain text"])
        assert driver.find_element(By.ID, "place").text == "2 of 2 answered"
        assert driver.title == "Judge explanations"
        assert driver.execute_script("return csv()").splitlines()[0] == "item,answer"
        (tmp_path / "answers.csv").write_text(driver.execute_script("return csv()"))
        assert driver.get_log("browser") == []
    finally:
        driver.quit()
    names = [item.name for item in told.missing]
    assert read_answers(tmp_path / "answers.csv") == {names[0]: 1.0, names[1]: 0.0}
