"""The documentation site builds without a warning, and its notebooks run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from actpipe.report.opened import Report
from cli.__main__ import COMMANDS
from tests.small_run import make_run, make_store

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = ["mkdocs", "build", "--strict", "--config-file", "docs/site/mkdocs.yml", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Fetched(HTMLParser):
    """Addresses that a browser loads by itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        loaded = given.get("src") or (given.get("href") if tag == "link" else None)
        if loaded:
            self.found.append(loaded)


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    for path in site.rglob("*.html"):
        yield path, path.read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path, text in pages(site):
        elsewhere = [where for where in Fetched(text).found if re.match(r"(https?:)?//", where)]
        assert elsewhere == [], path


def test_every_document_is_a_page(site: Path) -> None:
    for document in (ROOT / "docs").rglob("*.md"):
        assert (site / document.relative_to(ROOT / "docs").with_suffix(".html")).is_file()


def test_every_command_has_a_page_with_all_its_options(site: Path) -> None:
    import click

    from cli.__main__ import Commands

    for name in COMMANDS:
        command = Commands().get_command(click.Context(Commands()), name)
        assert command is not None
        text = (site / "command-line" / f"{name}.html").read_text(encoding="utf-8")
        for parameter in command.params:
            assert all(option in text for option in parameter.opts if option.startswith("--")), (name, parameter.name)


def test_the_python_reference_says_what_names_do(site: Path) -> None:
    text = (site / "python" / "report.html").read_text(encoding="utf-8")
    for method in (Report.units, Report.means, Report.unit):
        assert str(method.__doc__)[:14] in text  # before the first of its code or punctuation


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_report(notebook: Path, tmp_path: Path) -> None:
    from actpipe.analysis import AnalyzeConfig, analyze

    run = make_run(tmp_path / "actpipe-out" / "sae", make_store(tmp_path / "actpipe-out" / "store.zarr"))
    analyze(AnalyzeConfig(run=run, out=tmp_path / "actpipe-out" / "report"))
    cells = nbformat.read(notebook, as_version=4)
    NotebookClient(cells, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in cells.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert any("text/html" in output.get("data", {}) for output in shown)
