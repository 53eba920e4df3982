"""The page as a reader meets it: from a file, in a real browser, with no network."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actpipe.report import write_report

from .report_tables import write_tables
from .report_text import HOSTILE, Corpus

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None,
    reason="no browser: install the Debian packages chromium and chromium-driver to test the report page",
)
MEMBER = "001-relu-l1-1.0"
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,900"),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    folder = tmp_path_factory.mktemp("report page")  # a space in the path, as users have
    corpus = write_tables(folder, features=70)
    return write_report(folder), corpus


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, report: tuple[Path, Corpus]) -> Iterator[Callable[[str], Any]]:
    """Opens the report at an address; afterwards nothing may have complained and nothing may have left the machine."""
    for log in ("browser", "performance"):
        browser.get_log(log)

    def visit(address: str = "") -> Any:
        browser.get("about:blank")
        browser.get(report[0].as_uri() + address)
        until(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
        return browser

    yield visit
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the page did not get there in time"
        time.sleep(0.03)
    return value


def texts(browser: Any, selector: str) -> list[str]:
    return list(
        browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map((n) => n.textContent)", selector
        )
    )


def click(browser: Any, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def press(browser: Any, key: str) -> None:
    browser.execute_script(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))", key
    )


def search(browser: Any, query: str) -> None:
    browser.execute_script(
        "const box = document.getElementById('query'); box.value = arguments[0]; box.dispatchEvent(new Event('input'))",
        query,
    )


def test_charts_table_and_dictionaries_are_there(page: Callable[..., Any]) -> None:
    browser = page()
    charts = browser.execute_script(
        "const nodes = [...document.querySelectorAll('[data-chart]')];"
        "return nodes.map((n) => [n.dataset.chart, n.querySelector('canvas')?.width ?? 0])"
    )
    assert [name for name, _ in charts] == ["fvu", "delta_ce", "token_r2", "token_entropy", "density", "map"]
    assert all(width > 300 for _, width in charts)
    assert len(texts(browser, ".members tbody tr")) == 5
    assert texts(browser, "#count") == ["70 of 70"]
    assert browser.execute_script("return table.getDataCount()") == 70


def test_choosing_a_dictionary_shows_its_features(page: Callable[..., Any]) -> None:
    browser = page()
    click(browser, "tr[data-member='4'] a")
    until(lambda: texts(browser, "#member-name") == ["relu · l1=8"])
    assert browser.execute_script("return document.getElementById('member').value") == "4"
    assert browser.execute_script(
        "return [...document.querySelectorAll('tr.chosen')].map((r) => r.dataset.member)"
    ) == ["4"]


def test_a_column_sorts_both_ways_with_undefined_last(page: Callable[..., Any]) -> None:
    browser = page()
    for direction in ("desc", "asc"):
        click(browser, ".tabulator-col[tabulator-field=r2] .tabulator-col-content")
        values = until(lambda: browser.execute_script("return table.getRows('active').map((r) => r.getData().r2)"))
        defined = [value for value in values if value is not None]
        assert defined == sorted(defined, reverse=direction == "desc")
        assert values == defined + [None] * (len(values) - len(defined))
        assert None in values


@pytest.mark.parametrize("query", ["r2>0.3", "r2>0.3 density<1%", "entropy<=4 r2>=0", "density=0", "no such words"])
def test_filters_keep_the_rows_they_say(page: Callable[..., Any], query: str) -> None:
    browser = page()
    rows = browser.execute_script("return dictionary.table")
    keeps: dict[str, Callable[[dict[str, Any]], bool]] = {
        "r2>0.3": lambda r: (r["r2"] or 0) > 0.3,
        "r2>0.3 density<1%": lambda r: (r["r2"] or 0) > 0.3 and r["density"] < 0.01,
        "entropy<=4 r2>=0": lambda r: r["entropy"] is not None and r["entropy"] <= 4 and r["r2"] >= 0,
        "density=0": lambda r: r["density"] == 0,
        "no such words": lambda r: False,
    }
    search(browser, query)
    expected = [row["feature"] for row in rows if keeps[query](row)]
    until(lambda: texts(browser, "#count") == [f"{len(expected)} of 70"])
    assert browser.execute_script("return table.getRows('active').map((r) => r.getData().feature)") == expected


def test_words_are_found_in_tokens_and_contexts(page: Callable[..., Any]) -> None:
    browser = page()
    search(browser, '"the film"')
    found = until(lambda: browser.execute_script("return table.getRows('active').map((r) => searchable(r.getData()))"))
    assert 0 < len(found) < 70
    assert all("the film" in text for text in found)


def test_dragging_over_the_map_filters_the_table(page: Callable[..., Any]) -> None:
    from selenium.webdriver import ActionChains

    browser = page()
    canvas = browser.find_element("css selector", "[data-chart=map] canvas")
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", canvas)
    drag = ActionChains(browser).move_to_element_with_offset(canvas, -100, -80).click_and_hold()
    drag.move_by_offset(200, 90).release().perform()
    query = until(lambda: browser.execute_script("return document.getElementById('query').value"))
    names = [term.split(sign)[0] for term, sign in zip(query.split(), "><><", strict=True)]
    assert names == ["density", "density", "r2", "r2"]
    until(lambda: texts(browser, "#count") != ["70 of 70"])


def test_clicking_a_point_of_the_sweep_chooses_its_dictionary(page: Callable[..., Any]) -> None:
    from selenium.webdriver import ActionChains

    browser = page()
    canvas = browser.find_element("css selector", "[data-chart=fvu] canvas")
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", canvas)
    place = """
      const view = views.get(document.querySelector("[data-chart=fvu]")), member = report.members[4];
      const [left, top] = view.origin().map((x, i) => x + [view.padding().left, view.padding().top][i]);
      return [left + view.scale("x")(member.l0), top + view.scale("y")(member.fvu),
        arguments[0].clientWidth, arguments[0].clientHeight];
    """
    left, top, width, height = browser.execute_script(place, canvas)
    ActionChains(browser).move_to_element_with_offset(canvas, left - width / 2, top - height / 2).click().perform()
    assert until(lambda: texts(browser, "#member-name") == ["relu · l1=8"])


def test_a_deep_link_opens_its_feature(page: Callable[..., Any], report: tuple[Path, Corpus]) -> None:
    browser = page(f"#{MEMBER}/65")
    until(lambda: texts(browser, "#panel h2") == ["Feature 65"])
    assert texts(browser, "#member-name") == ["relu · l1=1"]
    _, corpus = report
    row = browser.execute_script("return dictionary.table.find((r) => r.feature === 65)")
    assert f"Fires on {row['count']:,} of {corpus.tokens.size:,} tokens" in texts(browser, ".verdict")[0]
    first = browser.execute_script("return loading.get('1/1').then((shard) => shard[65].examples[0][4])")
    passage = "".join(corpus.vocabulary[token] for token in first)
    if not any(hostile in passage for hostile in HOSTILE):
        assert texts(browser, ".contexts li p")[0] == passage.removeprefix(" ")


def test_an_address_that_cannot_be_decoded_is_no_dictionary(page: Callable[..., Any]) -> None:
    browser = page("#%")
    assert browser.execute_script("return dictionary.index === defaultMember()")
    browser.execute_script(f"location.hash = '#{MEMBER}/3'")
    until(lambda: texts(browser, "#panel h2") == ["Feature 3"])


def test_csv_holds_texts_and_every_score_of_the_features_that_pass(page: Callable[..., Any]) -> None:
    browser = page(f"#{MEMBER}")
    search(browser, "r2>0.2")
    rows = browser.execute_script("return table.getRows('active').map((r) => r.getData())")
    browser.execute_script(
        "const make = URL.createObjectURL; HTMLAnchorElement.prototype.click = () => {};"
        "URL.createObjectURL = (blob) => { blob.text().then((text) => { window.csv = text; }); return make(blob); };"
    )
    browser.execute_script("document.getElementById('csv').dispatchEvent(new Event('click'))")
    content = until(lambda: browser.execute_script("return window.csv"))
    found = list(csv.DictReader(io.StringIO(content, newline="")))
    scores = ("feature", "count", "density", "max", "mean", "entropy", "tokens", "purity", "specificity", "r2")
    scores += ("rules", "concept", "ms")  # not in these tables, so empty
    tokens = ("top_token_1", "top_token_2", "top_token_3")
    assert list(found[0]) == [*scores, *tokens, "strongest_context"]
    assert 2 < len(found) == len(rows) < 70
    for line, row in zip(found, rows, strict=True):
        assert [float(line[name]) if line[name] else None for name in scores] == [row[name] for name in scores]
        expected = browser.execute_script("return arguments[0].map((t) => csvText(textOf(t)))", row["top"])
        assert [line[name] for name in tokens[: len(expected)]] == [cell[1:-1].replace('""', '"') for cell in expected]


def test_csv_texts_are_quoted_and_never_formulas(page: Callable[..., Any]) -> None:
    cells = ["=1+1", "+1", "-1", "@a", " =1", "\t=1", "\rx", "film", 'a"b', "a-b"]
    written = page().execute_script("return arguments[0].map(csvText)", cells)
    neutral = ["'=1+1", "'+1", "'-1", "'@a", "' =1", "'\t=1", "'\rx", "film", 'a""b', "a-b"]
    assert written == [f'"{cell}"' for cell in neutral]


def test_keys_walk_the_table_in_its_order_and_close_the_panel(page: Callable[..., Any]) -> None:
    browser = page(f"#{MEMBER}")
    search(browser, "r2>0.2")
    order = until(lambda: browser.execute_script("return table.getRows('active').map((r) => r.getData().feature)"))
    assert 2 < len(order) < 70
    for key, feature in (("j", order[0]), ("j", order[1]), ("j", order[2]), ("k", order[1])):
        press(browser, key)
        until(lambda feature=feature: texts(browser, "#panel h2") == [f"Feature {feature}"])
    assert browser.execute_script("return location.hash") == f"#{MEMBER}/{order[1]}"
    press(browser, "Escape")
    until(lambda: browser.execute_script("return document.getElementById('panel').hidden"))
    browser.back()
    until(lambda: not browser.execute_script("return document.getElementById('panel').hidden"))


def test_every_panel_draws_and_hostile_tokens_stay_text(page: Callable[..., Any], report: tuple[Path, Corpus]) -> None:
    browser = page(f"#{MEMBER}/0")
    title = browser.title
    for feature in range(0, 70, 3):
        browser.execute_script(f"location.hash = '#{MEMBER}/{feature}'")
        until(lambda feature=feature: texts(browser, "#panel h2") == [f"Feature {feature}"])
    assert browser.execute_script("return document.querySelectorAll('img, iframe, object, #panel script').length") == 0
    assert browser.title == title
    shown = browser.execute_script(
        "return arguments[0].map((id) => { const node = appendVisible(document.createElement('p'), textOf(id), true);"
        "return [node.textContent, node.querySelectorAll('*:not(span.unseen)').length]; })",
        [report[1].vocabulary.index(text) for text in HOSTILE],
    )
    assert [elements for _, elements in shown] == [0] * len(HOSTILE)
    named = dict(zip(HOSTILE, (text for text, _ in shown), strict=True))
    assert named["\u202eright to left"] == "U+202Eright·to·left"
    assert named["\x00"] == "U+0000"
    assert named["<!--"] == "<!--"


def test_rules_are_a_sentence_and_their_tokens_are_data(page: Callable[..., Any]) -> None:
    row = {"says": "fires on ` the`|`<b>` (18 %); after ` a` (any case)|`b` (3 %)", "rules": 0.5, "concept": None}
    script = "const node = make('p', {}, ...said(arguments[0], {}));"
    script += "return [node.innerText, node.querySelectorAll('.chip').length]"
    said, chips = page().execute_script(script, row)
    assert said == "Fires on ·the <b> (18 %); after ·a (any case) b (3 %). F1 of these rules on held-out text: 0.50."
    assert chips == 4


def test_a_dead_feature_says_so(page: Callable[..., Any]) -> None:
    browser = page(f"#{MEMBER}")
    dead = browser.execute_script("return dictionary.table.find((r) => r.count === 0).feature")
    browser.execute_script(f"location.hash = '#{MEMBER}/{dead}'")
    until(lambda: texts(browser, "#panel h2") == [f"Feature {dead}"])
    assert texts(browser, ".verdict")[0].startswith("Never fires on")
    assert texts(browser, ".contexts li") == []


def test_dark_and_light_are_switched_and_remembered(page: Callable[..., Any]) -> None:
    browser = page()
    ground = "return getComputedStyle(document.body).backgroundColor"
    before = browser.execute_script(ground)
    click(browser, "#theme")
    after = browser.execute_script(ground)
    assert after != before
    browser = page()
    assert browser.execute_script(ground) == after
    browser.execute_script("localStorage.clear()")


def test_nothing_is_wider_than_a_phone(page: Callable[..., Any], browser: Any) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for address in ("", f"#{MEMBER}/3"):
            page(address)
            assert browser.execute_script("return document.documentElement.scrollWidth") == 390
            assert browser.execute_script("return document.getElementById('panel').scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_an_unreadable_shard_is_said_on_the_page(browser: Any, report: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(report[0].parent, folder)
    (folder / "data" / "1" / "0.js").unlink()
    browser.get("about:blank")
    browser.get((folder / "index.html").as_uri() + f"#{MEMBER}/3")
    assert until(
        lambda: (
            "data/1/0.js could not be read"
            in browser.execute_script("return document.getElementById('notice').textContent")
        )
    )
    browser.get("about:blank")
