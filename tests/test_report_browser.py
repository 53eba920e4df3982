"""The page as a reader meets it: from a file, in a real browser, with no network."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actpipe.report import write_report
from actpipe.report.single_file import write_single_file

from .chromium import check_silent, forget, needs_chromium, texts, until, visit
from .report_scores import MISTAKEN, write_scores
from .report_tables import write_tables
from .report_text import HOSTILE, Corpus

pytestmark = needs_chromium
MEMBER = "001-relu-l1-1.0"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    folder = tmp_path_factory.mktemp("report page")  # a space in the path, as users have
    corpus = write_tables(folder, features=70)
    write_scores(folder, corpus)
    return write_report(folder), corpus


@pytest.fixture
def page(browser: Any, report: tuple[Path, Corpus]) -> Iterator[Callable[[str], Any]]:
    """Opens the report at an address; afterwards nothing may have complained and nothing may have left the machine."""
    forget(browser)

    def opened_at(address: str = "") -> Any:
        visit(browser, report[0].as_uri() + address)
        return browser

    yield opened_at
    check_silent(browser)


def click(browser: Any, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def press(browser: Any, key: str) -> None:
    browser.execute_script(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))", key
    )


def filtered(browser: Any, field: str, query: str) -> None:
    browser.execute_script("table.setHeaderFilterValue(arguments[0], arguments[1])", field, query)


def active(browser: Any, field: str) -> list[Any]:
    """Values of a column, of the rows that pass the filters, in their order."""
    script = "return table.getRows('active').map((row) => row.getData()[arguments[0]])"
    return list(browser.execute_script(script, field))


def opened(browser: Any, feature: int) -> None:
    browser.execute_script("location.hash = addressWith({u: arguments[0]})", f"{MEMBER}/{feature}")
    until(lambda: texts(browser, "#panel h2") == [f"Unit {feature}"])


def test_charts_table_and_verdicts_are_there(page: Callable[..., Any]) -> None:
    browser = page()
    charts = browser.execute_script(
        "const nodes = [...document.querySelectorAll('[data-chart]')];"
        "return nodes.map((n) => [n.dataset.chart, n.querySelector('canvas')?.width ?? 0])"
    )
    expected = [
        "fvu",
        "delta_ce",
        "token_units",
        "context_units",
        "token_r2",
        "token_entropy",
        "density",
        "map",
        "seeds",
    ]
    assert [name for name, _ in charts] == expected
    assert all(width > 300 for _, width in charts)
    assert texts(browser, "#count") == ["70 of 350"]
    assert len(texts(browser, ".verdicts .holds")) == 2
    assert len(texts(browser, ".verdicts .fails")) == 2
    drawn = browser.execute_script("return views.get(document.querySelector('[data-chart=token_units]')).data('rows')")
    assert {row["group"] for row in drawn} == {"features", "random_directions", "shuffled", "untrained_twin"}


def test_a_dictionary_or_all_are_chosen(page: Callable[..., Any]) -> None:
    browser = page()
    click(browser, "tr[data-member='4'] a")
    until(lambda: texts(browser, "#member-name") == ["relu · l1=8"])
    assert browser.execute_script("return document.getElementById('member').value") == "4"
    until(lambda: set(active(browser, "member")) == {4})
    member = "return views.get(document.querySelector('[data-chart=density]')).signal('member')"
    assert browser.execute_script(member) == 4
    browser.execute_script("$('member').value = ''; $('member').dispatchEvent(new Event('change', {bubbles: true}))")
    until(lambda: texts(browser, "#count") == ["350 of 350"])


def test_columns_sort_both_ways_with_undefined_last_and_by_several(page: Callable[..., Any]) -> None:
    browser = page()
    for direction in ("desc", "asc"):
        click(browser, ".tabulator-col[tabulator-field=r2] .tabulator-col-content")
        values = until(lambda: active(browser, "r2"))
        defined = [value for value in values if value is not None]
        assert defined == sorted(defined, reverse=direction == "desc")
        assert values == defined + [None] * (len(values) - len(defined))
        assert None in values
    by_two = [{"column": "rules", "dir": "desc"}, {"column": "concept", "dir": "asc"}]
    browser.execute_script("table.setSort(arguments[0])", by_two)
    assert "sort=rules.desc,concept.asc" in browser.execute_script("return location.hash")


@pytest.mark.parametrize(
    ("field", "query", "keeps"),
    [
        ("r2", "0.3", lambda value: value is not None and value >= 0.3),
        ("r2", ">0.3", lambda value: value is not None and value >= 0.3),
        ("density", "<1%", lambda value: value <= 0.01),
        ("density", "0.001..1%", lambda value: 0.001 <= value <= 0.01),
        ("count", "0..0", lambda value: value == 0),
        ("says", "THE|film", lambda value: value is not None and ("the" in value.lower() or "film" in value.lower())),
        ("says", "(", lambda value: value is not None and "(" in value),
        ("concept", "no such words", lambda value: False),
    ],
)
def test_filters_keep_the_rows_they_say(page: Callable[..., Any], field: str, query: str, keeps: Any) -> None:
    browser = page()
    before = dict(zip(active(browser, "index"), active(browser, field), strict=True))
    filtered(browser, field, query)
    expected = [index for index, value in before.items() if keeps(value)]
    until(lambda: texts(browser, "#count") == [f"{len(expected)} of 350"])
    assert active(browser, "index") == expected


def test_what_is_seen_is_in_the_address(page: Callable[..., Any]) -> None:
    browser = page("#members=&r2=%3E0.3&sort=density.desc&toggled=purity,ms")
    until(lambda: texts(browser, "#count") not in (["350 of 350"], ["70 of 350"]))
    r2, density = active(browser, "r2"), active(browser, "density")
    assert all(value >= 0.3 for value in r2)
    assert density == sorted(density, reverse=True)
    assert len(set(active(browser, "member"))) == 5
    visible = "return ['purity', 'ms'].map((field) => table.getColumn(field).isVisible())"
    assert browser.execute_script(visible) == [True, False]
    filtered(browser, "density", "0.1%")
    until(lambda: "density=0.1%25" in browser.execute_script("return location.hash"))
    browser.execute_script("location.hash = ''")
    until(lambda: texts(browser, "#count") == ["70 of 350"])
    assert browser.execute_script(visible) == [False, True]


def test_columns_are_chosen(page: Callable[..., Any]) -> None:
    browser = page()
    labels = [text.strip() for text in texts(browser, "#columns label")]
    boxes = browser.execute_script("return [...document.querySelectorAll('#columns input')].map((box) => box.checked)")
    assert dict(zip(labels, boxes, strict=True))["Purity"] is False
    browser.execute_script("document.querySelectorAll('#columns input')[arguments[0]].click()", labels.index("Purity"))
    assert browser.execute_script("return table.getColumn('purity').isVisible()")
    assert "toggled=purity" in browser.execute_script("return location.hash")


def test_dragging_over_a_chart_filters_the_table(page: Callable[..., Any]) -> None:
    from selenium.webdriver import ActionChains

    browser = page()
    for chart, (left, top), (across, down) in (("map", (-100, -80), (200, 90)), ("fvu", (-120, -50), (240, 110))):
        canvas = browser.find_element("css selector", f"[data-chart={chart}] canvas")
        browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", canvas)
        drag = ActionChains(browser).move_to_element_with_offset(canvas, left, top).click_and_hold()
        drag.move_by_offset(across, down).release().perform()
        if chart == "map":
            query = until(lambda: browser.execute_script("return table.getHeaderFilterValue('density')"))
            low, high = (float(part) for part in query.split(".."))
            until(lambda: texts(browser, "#count") != ["70 of 350"])
            assert all(low <= value <= high for value in active(browser, "density"))
        else:
            until(lambda: "members=" in browser.execute_script("return location.hash"))
            until(lambda: 1 < len(set(active(browser, "member"))) < 5)


def test_a_deep_link_opens_its_unit_and_shows_its_errors(page: Callable[..., Any], report: tuple[Path, Corpus]) -> None:
    browser = page(f"#u={MEMBER}/{MISTAKEN}")
    until(lambda: texts(browser, "#panel h2") == [f"Unit {MISTAKEN}"])
    row = browser.execute_script("return open")
    said = texts(browser, "#panel .said")
    assert f"Fires on {row['count']:,} of {report[1].tokens.size:,} tokens" in said[0]
    assert said[1].startswith("Rules: fires on ")
    assert "F1 on held-out text" in said[1]
    assert "Detection, balanced accuracy: 0.80 [0.4, 0.9] (rules:executed)." in said[1]
    assert any("KL at tokens on which it fires, when it is silenced: 0.0123 [0.01, 0.02]." in text for text in said)
    headings = [text.split(" ")[0] for text in texts(browser, "#panel section > h3")]
    windows = ["Strongest", "Over", "False", "Silent", "Near"]
    lists = ["Heaviest", "Raises", "Lowers", "Nearest", "Fires", "Activations", "Positions"]
    assert headings == windows + lists
    predicted = "return [...document.querySelectorAll('.contexts')].map((n) => n.querySelectorAll('.predicted').length)"
    counts = browser.execute_script(predicted)
    assert counts[2] == 1  # the false alarm
    assert counts[3] == 0
    marks = browser.execute_script("return document.querySelectorAll('.strips .strip:first-child .chance').length")
    assert marks == 3
    until(lambda: len(browser.execute_script("return [...document.querySelectorAll('#panel canvas')]")) == 2)


def test_a_panel_links_to_neighbours_and_matches_in_other_seeds(page: Callable[..., Any]) -> None:
    browser = page("#u=000-relu-l1-0.5/2")
    until(lambda: texts(browser, "#panel h2") == ["Unit 2"])
    assert "Its direction is in 0 of 1 (0.001 by chance) other seeds." in texts(browser, "#panel .said")
    links = browser.execute_script("return [...document.querySelectorAll('#panel .links a')].map((a) => a.hash)")
    assert links == ["#u=000-relu-l1-0.5/10", "#u=000-relu-l1-0.5/10", "#u=001-relu-l1-1.0/2"]
    browser.execute_script("document.querySelectorAll('#panel .links a')[2].click()")
    until(lambda: browser.execute_script("return open.member") == 1)
    assert texts(browser, "#panel h2") == ["Unit 2"]


@pytest.mark.parametrize("address", ["#%", "#u=%", "#u=nobody/3", "#members=99", "#sort=nothing.desc&nothing=1"])
def test_an_address_that_means_nothing_leaves_the_page_whole(page: Callable[..., Any], address: str) -> None:
    browser = page(address)
    assert texts(browser, "#count") == ["70 of 350"]  # all units of the dictionary that the page begins with
    assert not browser.execute_script("return $('panel').open")
    assert texts(browser, "#notice") == [""]
    opened(browser, 3)
    assert texts(browser, "#panel .said")[0].startswith("Fires on ")


def test_csv_holds_what_is_shown(page: Callable[..., Any]) -> None:
    browser = page()
    filtered(browser, "r2", "0.2")
    rows = browser.execute_script("return table.getRows('active').map((r) => r.getData())")
    browser.execute_script(
        "const make = URL.createObjectURL; HTMLAnchorElement.prototype.click = () => {};"
        "URL.createObjectURL = (blob) => { blob.text().then((text) => { window.csv = text; }); return make(blob); };"
    )
    browser.execute_script("document.getElementById('csv').click()")
    content = until(lambda: browser.execute_script("return window.csv"))
    found = list(csv.DictReader(io.StringIO(content.removeprefix("\ufeff"), newline="")))
    shown = browser.execute_script(
        "return report.columns.filter((c) => table.getColumn(c.field).isVisible()).map((c) => c.field)"
    )
    assert set(found[0]) == {*shown, "rules_low", "rules_high", "mark"}
    assert 2 < len(found) == len(rows) < 70  # the rows that pass
    for line, row in zip(found, rows, strict=True):
        for name in ("feature", "density", "rules", "rules_low", "above", "r2"):
            assert (float(line[name]) if line[name] else None) == row[name]


def test_csv_texts_are_never_formulas(page: Callable[..., Any]) -> None:
    cells = ["=1+1", "+1", "-1", "@a", " =1", "\t=1", "\rx", "film", "a-b"]
    written = page().execute_script("return arguments[0].map(inCsv)", cells)
    assert written == ["'=1+1", "'+1", "'-1", "'@a", "' =1", "'\t=1", "'\rx", "film", "a-b"]


def test_keys_walk_the_table_mark_and_close(page: Callable[..., Any]) -> None:
    browser = page("#members=1")
    filtered(browser, "r2", "0.2")
    order = until(lambda: active(browser, "feature"))
    assert 2 < len(order) < 70
    opened(browser, order[0])
    for key, feature in (("j", order[1]), ("j", order[2]), ("k", order[1])):
        press(browser, key)
        until(lambda feature=feature: texts(browser, "#panel h2") == [f"Unit {feature}"])
    assert f"u={MEMBER}/{order[1]}" in browser.execute_script("return location.hash")
    press(browser, "m")
    until(lambda: "★" in texts(browser, "#panel .buttons button"))
    press(browser, "Escape")
    until(lambda: not browser.execute_script("return document.getElementById('panel').open"))
    browser = page("#members=&mark=★")
    until(lambda: active(browser, "feature") == [order[1]])
    browser.execute_script("localStorage.clear()")


def test_every_panel_draws_and_hostile_tokens_stay_text(page: Callable[..., Any], report: tuple[Path, Corpus]) -> None:
    browser = page(f"#u={MEMBER}/0")
    title = browser.title
    for feature in range(0, 70, 5):
        opened(browser, feature)
    assert browser.execute_script("return document.querySelectorAll('img, iframe, object, #panel script').length") == 0
    assert browser.title == title
    shown = browser.execute_script(
        "return arguments[0].map((id) => [chip(texts.get(id)), running(id, 1, '')]).map(([alone, inText]) => "
        "[alone.textContent, alone.children.length + inText.querySelectorAll('*:not(.word)').length])",
        [report[1].vocabulary.index(text) for text in HOSTILE],
    )
    assert [elements for _, elements in shown] == [0] * len(HOSTILE)
    named = dict(zip(HOSTILE, (text for text, _ in shown), strict=True))
    assert named["\u202eright to left"] == "⟨U+202E⟩right·to·left"
    assert named["\u2028"] == "⟨U+2028⟩"
    assert named["\x00"] == "⟨U+0000⟩"
    assert named["<!--"] == "<!--"
    opened(browser, 0)
    near = browser.execute_script("return [...document.querySelectorAll('.contexts')].at(-1).textContent")
    assert HOSTILE[0] in near  # a whole script end and a handler, as it stands in the corpus


def test_words_with_tokens_are_chips_and_data(page: Callable[..., Any]) -> None:
    script = "const node = make('p', {}, ...worded(arguments[0]));"
    script += "return [node.textContent, node.querySelectorAll('.chip').length, node.querySelectorAll('b').length]"
    said, chips, bold = page().execute_script(script, "fires on ` the`|`<b>` (18 %); after ` a` (any case)")
    assert said == "fires on ·the <b> (18 %); after ·a (any case)"
    assert (chips, bold) == (3, 0)


def test_a_dead_unit_says_so(page: Callable[..., Any]) -> None:
    browser = page("#members=1")
    dead = browser.execute_script("return rows.find((r) => r.member === 1 && r.count === 0).feature")
    opened(browser, dead)
    assert texts(browser, "#panel .said")[0].startswith("Never fires on")
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


def test_print_leaves_out_what_cannot_be_used_on_paper(page: Callable[..., Any], browser: Any) -> None:
    visible = "return arguments[0].map((name) => getComputedStyle(document.querySelector(name)).display !== 'none')"
    names = [".bar", "#units", ".tools", "main", "#panel"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert page().execute_script(visible, names) == [False, False, False, True, False]
        assert page(f"#u={MEMBER}/3").execute_script(visible, names) == [False, False, False, False, True]
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_no_table_is_cut_on_paper(page: Callable[..., Any], browser: Any) -> None:
    wider = "return [...document.querySelectorAll('.wide')].map((each) => each.scrollWidth - each.clientWidth)"
    paper = {"width": 718, "height": 1046, "deviceScaleFactor": 1, "mobile": False}  # A4 within margins of 10 mm
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    try:
        assert set(page().execute_script(wider)) == {0}
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_is_wider_than_a_phone(page: Callable[..., Any], browser: Any) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for address in ("", f"#u={MEMBER}/3"):
            page(address)
            assert browser.execute_script("return document.documentElement.scrollWidth") == 390
            assert browser.execute_script("return document.getElementById('panel').scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_without_script_the_verdict_and_the_numbers_are_there(browser: Any, report: tuple[Path, Corpus]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(report[0].as_uri())
        shown = browser.find_element("css selector", "body").text
        assert "need JavaScript" in shown
        assert "Rules tell when features fire: better than their hardest control" in shown
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        browser.get("about:blank")


def test_one_file_opens_alone_and_says_what_it_lacks(browser: Any, report: tuple[Path, Corpus], tmp_path: Path) -> None:
    whole = write_single_file(report[0].parent, tmp_path / "whole.html")
    limit = (whole.n_bytes - 100_000) / 1e6
    part = write_single_file(report[0].parent, tmp_path / "part.html", max_mb=limit, wanted=[f"{MEMBER}/3"])
    assert part.details < part.units
    forget(browser)
    visit(browser, part.path.as_uri() + f"#u={MEMBER}/3")
    assert texts(browser, "#panel .said")[0].startswith("Fires on")
    shard = "load(`units/${Math.floor(r.index / 64)}`).catch(() => []).then((s) => s[r.index % 64] ?? null)"
    script = f"return Promise.all(rows.filter((r) => r.count).map(async (r) => [nameOf(r), await {shard}]))"
    lacking = next(name for name, blocks in browser.execute_script(script) if blocks is None)
    browser.execute_script("location.hash = addressWith({u: arguments[0]})", lacking)
    until(lambda: "units have a panel" in "".join(texts(browser, "#panel .said")))
    assert check_silent(browser) == {part.path.as_uri()}


def test_an_unreadable_shard_is_said_on_the_page(browser: Any, report: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(report[0].parent, folder)
    (folder / "data" / "units" / "1.js").unlink()
    browser.get("about:blank")
    browser.get((folder / "index.html").as_uri() + f"#u={MEMBER}/3")
    assert until(
        lambda: (
            "data/units/1.js could not be read"
            in browser.execute_script("return document.getElementById('notice').textContent")
        )
    )
    browser.get("about:blank")
