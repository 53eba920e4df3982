"""The page of a comparison in a browser, from the folder, with names that would like to be markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actpipe.compare import CompareConfig, compare
from tests.chromium import check_silent, forget, needs_chromium, until, visit
from tests.planted_arms import Planted, write_report

pytestmark = needs_chromium

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    arms = [
        write_report(place / name, [Planted(seed=seed, level=level)], analysed_l0=8.0, dataset=HOSTILE)
        for name, seed, level in (("good", 0, 0.6), ("<b>plain", 1, 0.5))
    ]
    compare(CompareConfig(arms=tuple(map(str, arms)), out=place / "out"))
    return place / "out"


def test_a_comparison_opens_without_a_request_an_error_or_markup(browser: Any, folder: Path) -> None:
    forget(browser)
    visit(browser, (folder / "index.html").as_uri())
    check_silent(browser)
    assert browser.execute_script("return document.querySelectorAll('main img, main b').length") == 0
    assert "<b>plain" in browser.find_element("tag name", "h1").text
    claims = browser.find_elements("css selector", ".verdicts li")
    assert [claim.text for claim in claims] == _claims(folder)
    charts = browser.execute_script(
        "return [...document.querySelectorAll('[data-chart]')].map((n) => n.querySelector('canvas')?.width ?? 0)"
    )
    assert len(charts) >= 4
    assert min(charts) > 100


def test_a_comparison_fits_a_phone_in_both_themes(browser: Any, folder: Path) -> None:
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    visit(browser, (folder / "index.html").as_uri())
    before = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    browser.execute_script("document.getElementById('theme').click()")
    until(lambda: browser.execute_script("return getComputedStyle(document.body).backgroundColor") != before)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _claims(folder: Path) -> list[str]:
    claims: list[str] = json.loads((folder / "compare.json").read_text())["claims"]
    return claims
