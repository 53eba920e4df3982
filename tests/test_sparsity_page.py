"""The page on sparsity as a reader meets it: from a file, in a real browser, with no network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from actpipe.sparsity import SparsityConfig, measure_sparsity
from actpipe.sparsity.measures import measures

from .chromium import check_silent, forget, needs_chromium, texts, until, visit
from .conftest import sentences


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, saved_models: dict[str, Path], text_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("sparsity page")  # a space in the path, as users have
    other = folder / "other.txt"
    other.write_text("\n\n".join(sentences(60, seed=8)))
    spoken = folder / "spoken.txt"
    spoken.write_text("\n".join(sentences(80, seed=6)))
    config = SparsityConfig(
        model=str(saved_models["t5"]),
        out=folder / "report",
        task=(f"<b>one={text_file}", f"other={other}"),
        tokens=2000,
        context=24,
        device="cpu",
        kt_words="king,</script>",
        kt_sentences=spoken,
        seed=4,
    )
    measure_sparsity(config)
    return folder / "report" / "index.html"


def test_the_page_loads_nothing_from_elsewhere_and_escapes_what_it_shows(report: Path) -> None:
    page = report.read_text()
    assert "default-src 'none'" in page
    for name in re.findall(r'(?:src|href)="((?:assets|data)/[^"]+)"', page):
        assert (report.parent / name).is_file()
    assert "http://" not in re.sub(r"xmlns='[^']*'", "", page)
    assert "https://" not in page
    assert "<b>one" not in page
    assert "</script>" in page  # the page's own
    assert "<code>&lt;/script&gt;</code>" in page
    assert "<script>" not in page
    data = (report.parent / "data" / "sparsity.js").read_text(encoding="ascii")
    assert "</script" not in data
    for measure in measures((0.01, 0.1, 1.0)):  # readable without script
        assert measure.title in page


def test_the_page_is_the_tables(report: Path) -> None:
    page, summary = report.read_text(), json.loads((report.parent / "sparsity.json").read_text())
    assert page.count('<tr data-hook="') == 5
    assert all(sentence.replace("'", "&#39;") in page for sentence in summary["reading"])
    shown = [mean for mean in summary["means"] if mean["overall"] and mean["arm"] == "trained"]
    assert len(shown) == 2
    for mean in shown:
        assert f"{100 * mean['nonzero']:.1f} %" in page


@needs_chromium
def test_charts_are_drawn_and_follow_the_measure_and_the_hook(browser: Any, report: Path) -> None:
    forget(browser)
    visit(browser, report.as_uri())
    charts = browser.execute_script(
        "const nodes = [...document.querySelectorAll('[data-chart]')];"
        "return nodes.map((n) => [n.dataset.chart, n.querySelector('canvas')?.width ?? 0])"
    )
    assert [name for name, _ in charts] == [*["layers"] * 2, *["cells"] * 4, "rates", "positions", *["tasks"] * 2]
    assert all(width > 300 for _, width in charts)
    assert texts(browser, ".measure-name") == ["nonzero"] * 3
    drawn = "return views.get(document.querySelector('[data-chart=layers]')).data('rows').map((r) => r.mean)"
    nonzero = browser.execute_script(drawn)
    keep = "r.task === 'all' && r.hook.startsWith('encoder')"
    layers = browser.execute_script(f"return report.layers.filter((r) => {keep})")
    assert nonzero == [row["nonzero"][0] for row in layers]
    browser.execute_script("$('measure').value = 'hoyer'; $('measure').dispatchEvent(new Event('change'))")
    until(lambda: texts(browser, ".measure-name") == ["Hoyer"] * 3 and browser.execute_script(drawn) != nonzero)
    assert browser.execute_script(drawn) == [row["hoyer"][0] for row in layers]
    name = "decoder_blocks.2.mlp.hook_post"
    browser.execute_script("document.querySelector(`tr[data-hook='${arguments[0]}'] a`).click()", name)
    until(lambda: browser.execute_script("return document.querySelector('tr.chosen')?.dataset.hook") == name)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    check_silent(browser)
