"""What every page shares: the frame with its security policy, the styles, the libraries, how numbers are written.

A page opens from a folder (`Page.write`) or is one file (`Page.in_one_file`); docs/reference/report-format.md, "How a
page is made", is written for whoever makes one.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from actpipe.files import write_bytes

from .payload import Written, packed, write_script
from .theme import EMBED

SOURCE = Path(__file__).parent
VENDORED = SOURCE / "vendored"
CHARTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")
TABLE = ("tabulator_simple.min.css", "tabulator.min.js")
TOKENS = SOURCE / "tokens.js"  # for pages that show text of tokens
_SHELL = (SOURCE / "page.css", SOURCE / "shell.js", SOURCE / "charts.js")

_THEMED = ("theme", EMBED)  # charts.js loads it

# Key, such as "units/12", and a JSON value: what `load(key)` of shell.js resolves to. In a folder it may be `Written`.
Datum = tuple[str, Any]


@dataclass(frozen=True, kw_only=True)
class Page:
    template: str  # extends shell.html
    values: Mapping[str, Any]  # what the template reads; escaped
    scripts: tuple[Path, ...]  # run after the libraries and shell.js, in this order
    folder: Path = SOURCE  # of the template
    libraries: tuple[str, ...] = CHARTS  # CHARTS, or CHARTS + TABLE

    def write(self, out: Path, data: Iterable[Datum]) -> Path:
        """Write `out/index.html` with its `data/` and `assets/` in place of earlier ones.

        The page is the mark of a whole report, so the old one goes first and the new one comes last.
        """
        page = out / "index.html"
        page.unlink(missing_ok=True)
        for folder in ("data", "assets"):
            shutil.rmtree(out / folder, ignore_errors=True)
        digests = {key: _digest(out, key, value) for key, value in itertools.chain([_THEMED], data)}
        _copy([*self._assets, *VENDORED.glob("*.LICENSE"), VENDORED / "README.md"], out / "assets")
        # Whoever wrote the text that is shown cannot know the digest of all data, so cannot name the nonce.
        nonce = hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()[:32]
        source = f"'nonce-{nonce}'"
        assets = [{"name": path.name, "code": None} for path in self._assets]
        write_bytes(page, self._html(assets=assets, nonce=nonce, data=[], policy=_policy([source], [source])))
        return page

    def in_one_file(self, data: Iterable[Datum]) -> bytes:
        """The same page with everything inside; scripts and styles are let in by their hashes."""
        assets = [{"name": path.name, "code": _embedded(path)} for path in self._assets]
        scripts, styles = (
            [_hash(str(asset["code"])) for asset in assets if str(asset["name"]).endswith(suffix)]
            for suffix in (".js", ".css")
        )
        inside = [{"key": key, "packed": packed(value)} for key, value in (_THEMED, *data)]
        return self._html(assets=assets, nonce=None, data=inside, policy=_policy(scripts, styles))

    @property
    def _assets(self) -> list[Path]:
        return [*(VENDORED / name for name in self.libraries), *_SHELL, *self.scripts]

    def _html(self, **frame: Any) -> bytes:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([self.folder, SOURCE]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"number": whole, "fixed": fixed, "percent": percent}
        return environment.get_template(self.template).render(**self.values, frame=frame).encode()


def _digest(out: Path, key: str, value: Any) -> str:
    return value.digest if isinstance(value, Written) else write_script(out, key, value)


def _policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    return (
        f"default-src 'none'; script-src {' '.join(scripts)}; style-src {' '.join(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _embedded(path: Path) -> str:
    """What may stand inside an element: only in strings of a script do these occur, and there they mean the same."""
    code = path.read_text(encoding="utf-8")
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _copy(paths: Iterable[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in paths:
        shutil.copyfile(path, folder / path.name)


def whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def fixed(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")  # no minus before 0


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
