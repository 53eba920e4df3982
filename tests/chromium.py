"""Chromium as a reader has it: a page is opened from a file, and what it logged and asked for can be looked at."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None,
    reason="no browser: install the Debian packages chromium and chromium-driver to test the pages",
)
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,900"),
)
LOGS = ("browser", "performance")


def start(profile: Path, *, downloads: Path | None = None) -> Any:
    """A driver of a browser of its own; whoever starts it quits it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", dict.fromkeys(LOGS, "ALL"))
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    return webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def forget(browser: Any) -> None:
    """What was logged until now, of the page with which the browser itself begins too."""
    browser.get("about:blank")
    for log in LOGS:
        browser.get_log(log)


def visit(browser: Any, address: str) -> None:
    """Open a page anew, even where only its hash differs, and wait until it has drawn everything."""
    browser.get("about:blank")
    browser.get(address)
    until(lambda: browser.execute_script("return document.documentElement.dataset.ready"))


def check_silent(browser: Any) -> set[str]:
    """Since `forget` nothing complained and nothing left the machine; the addresses of files that were asked for."""
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}
    return {url.split("#")[0] for url in urls if url.startswith("file:")}


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the page did not get there in time"
        time.sleep(0.03)
    return value


def texts(browser: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent)"
    return list(browser.execute_script(script, selector))
