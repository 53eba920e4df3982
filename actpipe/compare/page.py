"""A comparison as a page, in the frame of every report (actpipe/report/shell.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actpipe.report.shell import Page

from .figures import Figure
from .matching import matching_rows
from .stand import Row
from .words import design_rows, difference_rows, mean_rows, volume_rows

HERE = Path(__file__).parent
CLASSES = {"better": "holds", "worse": "holds", "withheld": "fails", "no overlap": "fails"}  # of a claim


def write_page(
    out: Path, found: Mapping[str, Any], tables: Mapping[str, Sequence[Row]], figures: Mapping[str, Figure]
) -> Path:
    """`out/index.html` with its `data/` and `assets/`."""
    page = Page(
        template="compare.html",
        folder=HERE,
        scripts=(HERE / "compare.js",),
        values={
            "names": [arm["arm"] for arm in found["arms"]],
            "arms": found["arms"],
            "created": found["created"],
            "version": found["actpipe"],
            "claims": [
                {"text": text, "class": CLASSES.get(row["claim"], "open")}
                for text, row in zip(found["claims"], tables["claims"], strict=True)
            ],
            "verdicts": found["verdicts"],
            "lints": found["lints"],
            "matching": matching_rows(found["arms"]),
            "designs": design_rows(tables["designs"]),
            "differences": difference_rows(tables["pairs"], tables["verdicts"]),
            "means": mean_rows(tables["means"]),
            "volumes": volume_rows(tables["hypervolumes"]),
            "figures": {stem: figure.title for stem, figure in figures.items()},
            "tables": list(tables),
        },
    )
    charts = {stem: {"spec": figure.spec, "datasets": {"rows": figure.rows}} for stem, figure in figures.items()}
    return page.write(out, [("charts", charts)])
