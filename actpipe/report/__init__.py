"""The report: one page that opens from a folder, with no network, from the tables of an analysis.

What it reads is docs/reference/report-format.md and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

__all__ = ["write_report"]


def write_report(out: Path, advance: Callable[[float], None] = lambda _units: None) -> Path:
    """Write `out/index.html` with its `data/` and `assets/` from the tables in `out`; return the path of the page.

    Writing again replaces the page. The page itself is written last, so a folder that holds one holds all of it.
    `advance` is told how many more units have their panels.
    """
    from .page import write_page  # pyarrow, altair and jinja2 take most of a second to import

    return write_page(Path(out), advance)
