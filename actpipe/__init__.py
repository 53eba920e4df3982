"""From a trained transformer to a report on its features, one folder a stage.

    text → tokens → activations → store → batches → dictionary → codes → scores → report

`harvest` runs a model over a text and fills a store, `training` fits dictionaries (package `sae`) to it, `analysis`
scores their features, `report` draws the page. Importing this package loads none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compare.opened import Comparison
    from .places import Place
    from .report.opened import Report
    from .store import Store

__all__ = ["__version__", "open_report", "open_store"]

__version__ = "0.1.0"  # the same as in pyproject.toml


def open_store(place: Place) -> Store:
    """Open a store that `actpipe harvest` wrote, for reading: a folder or a URL such as s3://bucket/store.zarr."""
    from .store import Store

    return Store.open(place)


def open_report(folder: str | Path) -> Report | Comparison:
    """Open what `actpipe analyze` or `actpipe compare` wrote: tables as pandas or Arrow, units that show themselves."""
    from .compare.opened import Comparison
    from .report.opened import Report

    folder = Path(folder)
    return Comparison.open(folder) if (folder / "compare.json").is_file() else Report.open(folder)
