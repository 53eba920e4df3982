"""What the site shows beyond the pages of docs/: the README, the command line, the Python interface, notebooks.

They are made while the site is built, from the code itself, so that they cannot fall behind it. MkDocs calls the
functions whose names begin with `on_`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent.parent
sys.path[:0] = [str(DOCS.parent), str(Path(__file__).parent)]

from command_line import command_pages  # noqa: E402
from notebooks import notebook_page  # noqa: E402
from python_interface import python_pages  # noqa: E402

README = "readme.md"
CODE = r"\[([^\]]*)\]\((?:\.\./)*(?:tests|actpipe|sae|cli)/[^)]*\)"  # a link to code, which the site does not hold
# Section of the navigation → its pages, as patterns below docs/; within one the order is that of the index.
SECTIONS = {
    "Start": ["index.md", README, "tutorial.md", "notebooks/*"],
    "How to": ["how-to/*"],
    "Understand": ["concepts.md", "ensembles.md", "reference/metrics.md", "reference/architectures.md"],
    "Replications": ["replications/*"],
    "Formats": ["reference/*-format.md", "reference/score-tables.md"],
    "Command line": ["command-line/*"],
    "Python": ["reference/python.md", "python/*"],
    "Project": ["measurements.md", "log.md", "CONTRIBUTING.md", "changelog.md", "decisions/*"],
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    made = [PurePosixPath(path) for path in (README, *_generated())]
    written = [path.relative_to(DOCS) for path in DOCS.rglob("*.md") if "site" not in path.relative_to(DOCS).parts]
    pages = {PurePosixPath(path): None for path in (*written, *made)}
    config["nav"] = [
        {name: found} for name, patterns in SECTIONS.items() if (found := list(_matching(pages, patterns)))
    ]
    left = set(pages) - {PurePosixPath(page) for section in config["nav"] for page in next(iter(section.values()))}
    if left:
        raise ValueError(f"docs/{min(left)} is in no section of docs/site/hooks.py.")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for notebook in DOCS.rglob("*.ipynb"):
        files.remove(files.src_uris[notebook.relative_to(DOCS).as_posix()])
    for path, text in {README: _readme(), **_generated()}.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to what lies elsewhere in the site than in the repository, or is not in it."""
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(CODE, r"\1", markdown)
    markdown = re.sub(r"\]\((?:\.\./)+README\.md(#[\w-]+)?\)", rf"]({up}{README}\1)", markdown)
    markdown = re.sub(r"\]\(((?:[\w./-]+/)?[\w-]+)\.ipynb\)", r"](\1.md)", markdown)
    return re.sub(r"\]\(((?:\.\./)*)decisions/\)", r"](\1decisions/index.md)", markdown)


def _generated() -> dict[str, str]:
    """Path below docs/ → Markdown."""
    notebooks = {
        path.relative_to(DOCS).with_suffix(".md").as_posix(): notebook_page(path)
        for path in sorted(DOCS.rglob("*.ipynb"))
    }
    return {**notebooks, "decisions/index.md": _decisions(), **command_pages(), **python_pages()}


def _readme() -> str:
    """Its links begin in the folder above."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return f"---\ntitle: The README\n---\n{text}"


def _decisions() -> str:
    records = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    titles = [path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for path in records]
    lines = [f"* [{title}]({path.name})" for title, path in zip(titles, records, strict=True)]
    return "\n".join(["# Decisions", "", "Why it is as it is, one record a decision.", "", *lines, ""])


def _matching(pages: dict[PurePosixPath, None], patterns: list[str]) -> Iterator[str]:
    """In the order of the patterns, of one pattern an index first and the others by name."""
    for pattern in patterns:
        found = [page for page in pages if page.parent == PurePosixPath(pattern).parent and page.match(pattern)]
        yield from (page.as_posix() for page in sorted(found, key=lambda page: (page.stem != "index", page.name)))
