"""What every page shares: the frame with its security policy, the styles, the libraries, how numbers are written."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

SOURCE = Path(__file__).parent
LIBRARIES = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "tabulator.min.js")
STYLES = ("tabulator_simple.min.css", "page.css")


def render(template: str, *, scripts: Iterable[str], folders: Iterable[Path] = (), **values: Any) -> str:
    """A page: `template`, of `folders` or of this one, extends shell.html; `scripts` are loaded after the libraries."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, SOURCE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = whole
    environment.filters["fixed"] = fixed
    environment.filters["percent"] = percent
    return environment.get_template(template).render(scripts=(*LIBRARIES, *scripts), styles=STYLES, **values)


def copy_assets(folder: Path, scripts: Iterable[Path]) -> None:
    folder.mkdir(parents=True)
    for path in (*scripts, SOURCE / "page.css", *sorted((SOURCE / "vendored").iterdir())):
        shutil.copyfile(path, folder / path.name)


def whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def fixed(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
