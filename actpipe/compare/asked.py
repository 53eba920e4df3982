"""What an arm is called on the command line → where its units come from.

    [NAME=]SOURCE[,SOURCE…]     sources that differ in their seed alone are seeds of one level, others are levels

    actpipe:crate-0, FOLDER, OWNER/NAME    a model: its own units, as `--hook` names them
    RUN, RUN:MEMBER, a dictionary's folder what `actpipe train-sae` or `convert` wrote
    STORE                                  the coordinates of its hooks, in the model it was harvested from
    REPORT, REPORT:MEMBER                  what `actpipe analyze` wrote: read as it is

MEMBER may hold a *, and then stands for several.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from actpipe import shipped
from actpipe.errors import Missing, Misuse
from actpipe.harvest import embedded

Kind = Literal["report", "run", "dictionary", "store", "model"]
_NAMED = re.compile(r"(?P<name>[\w .+-]+)=(?P<sources>.+)")
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+(@init(=\d+)?)?")


@dataclass(frozen=True, kw_only=True)
class Source:
    kind: Kind
    place: str  # a folder, or a model's name
    chosen: str = ""  # of a run or report: a member, or several by a name with *

    @property
    def text(self) -> str:
        return f"{self.place}:{self.chosen}" if self.chosen else self.place


@dataclass(frozen=True, kw_only=True)
class Asked:
    name: str
    sources: tuple[Source, ...]


def asked_arms(texts: Sequence[str]) -> list[Asked]:
    """In the order given, each under a name that no other has."""
    found = [_asked(text) for text in texts]
    return [Asked(name=name, sources=sources) for name, (_, sources) in zip(_names(found), found, strict=True)]


def asked_twins(texts: Sequence[str], arms: Sequence[str]) -> dict[str, Asked]:
    found = {}
    for text in texts:
        name, _, sources = text.partition("=")
        if name not in arms or not sources:
            raise Misuse(f"--twin {text} names none of the arms; write it as ARM=SOURCE, ARM being {', '.join(arms)}.")
        found[name] = Asked(name=name, sources=_sources(sources))
    return found


def _asked(text: str) -> tuple[str | None, tuple[Source, ...]]:
    named = None if Path(text).exists() else _NAMED.fullmatch(text)
    return (named["name"], _sources(named["sources"])) if named else (None, _sources(text))


def _sources(text: str) -> tuple[Source, ...]:
    parts = [text] if Path(text).exists() else text.split(",")
    return tuple(_source(part) for part in parts)


def _source(text: str) -> Source:
    kind, place, chosen = _kind(Path(text)), text, ""
    if kind is None and ":" in text and not shipped.is_named(text):
        place, _, chosen = text.rpartition(":")
        kind = _kind(Path(place))
        if kind not in ("run", "report"):
            kind = None
    if kind is None and _is_model(text):
        return Source(kind="model", place=text)
    if kind is None:
        raise Missing(
            f"There is nothing to compare at {text}; an arm is a model (actpipe:NAME, a folder, OWNER/NAME), a run of "
            "`actpipe train-sae` or one of its dictionaries, a store, or a report of `actpipe analyze`."
        )
    return Source(kind=kind, place=place, chosen=chosen)


def _kind(folder: Path) -> Kind | None:
    if not folder.is_dir():
        return None
    if (folder / "zarr.json").is_file():
        return "store"
    if (folder / "run.json").is_file():
        return "run"
    if str(_json(folder / "summary.json").get("format", "")).startswith("actpipe-report"):
        return "report"
    described = _json(folder / "config.json")
    return None if not described else "dictionary" if described.get("format") == "actpipe-dictionary" else "model"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_model(text: str) -> bool:
    trained = text.partition("@init")[0]
    if shipped.is_named(trained):
        shipped.folder(trained)  # refuses a name that is not shipped, and says which are close
        return True
    return trained == embedded.NAME or _kind(Path(trained)) == "model" or bool(_HUB_NAME.fullmatch(text))


def _names(found: Sequence[tuple[str | None, tuple[Source, ...]]]) -> list[str]:
    """The shortest that tell the arms apart."""
    short = [name or _short(sources, found) for name, sources in found]
    whole = [name or ",".join(source.text for source in sources) for name, sources in found]
    for names in (short, whole):
        if len(set(names)) == len(names):
            return names
    counted, seen = [], Counter[str]()
    for name in whole:
        seen[name] += 1
        counted.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return counted


def _short(sources: Sequence[Source], found: Sequence[tuple[str | None, tuple[Source, ...]]]) -> str:
    """Of members of one folder only what tells them apart; of several seeds what their names begin with."""
    places = {source.place for _, each in found for source in each}
    if len(places) == 1 and all(source.chosen for _, each in found for source in each):
        return ",".join(source.chosen for source in sources)
    names = [_base(source) for source in sources]
    alike = re.sub(r"[-_.,]?\d*$", "", _common(names))
    return names[0] if len(names) == 1 else alike or ",".join(names)


def _base(source: Source) -> str:
    name = source.place.removeprefix(shipped.PREFIX) if source.kind == "model" else Path(source.place).resolve().name
    return f"{name}:{source.chosen}" if source.chosen else name


def _common(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]
