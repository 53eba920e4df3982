"""The page of a comparison in a browser, from the folder, with names that would like to be markup."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actpipe.compare import CompareConfig, compare
from tests.planted_arms import Planted, write_report
from tests.test_report_browser import CHROMEDRIVER, CHROMIUM, FLAGS, until

pytestmark = pytest.mark.skipif(CHROMIUM is None or CHROMEDRIVER is None, reason="needs Chromium and its driver")

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


def test_a_comparison_opens_without_a_request_an_error_or_markup(browser: Any, folder: Path) -> None:
    browser.get((folder / "index.html").as_uri())
    until(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
    assert browser.get_log("browser") == []
    asked = [entry["message"] for entry in browser.get_log("performance") if "requestWillBeSent" in entry["message"]]
    assert asked
    assert not any('"url":"http' in message for message in asked)
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
    browser.get((folder / "index.html").as_uri())
    until(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
    before = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    browser.execute_script("document.getElementById('theme').click()")
    until(lambda: browser.execute_script("return getComputedStyle(document.body).backgroundColor") != before)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _claims(folder: Path) -> list[str]:
    claims: list[str] = json.loads((folder / "compare.json").read_text())["claims"]
    return claims
