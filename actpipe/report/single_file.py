"""A report as one HTML file: the whole table, and the panels of all units or of a part that the page declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Failure, Misuse
from actpipe.files import write_bytes

from .member_units import RULES, MemberUnits
from .page import ReportPage
from .panel_shards import all_kept

MB = 1_000_000
MARGIN = 0.97  # of the room that is aimed at: panels differ in size
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which units have a panel where not all can."""

    extremes: int = 50  # of each dictionary, the highest and as many of the lowest
    a_decile: int = 20  # of each dictionary, of each tenth by density, drawn at random
    uniform: int = 200  # of all, drawn at random


@dataclass(frozen=True, kw_only=True)
class SingleFile:
    path: Path
    units: int
    details: int  # of them with a panel
    n_bytes: int


def write_single_file(report: Path, target: Path, *, max_mb: float = 30.0, wanted: Sequence[str] = ()) -> SingleFile:
    """Write the page of the finished `report` as one file of at most `max_mb`; `wanted`: MEMBER/NUMBER of units whose
    panels are in it whatever else is."""
    page, limit = ReportPage.open(report), max_mb * MB
    named = {_named(page, name) for name in wanted}
    total = sum(units.n for units in page.members)
    if _folder_bytes(report) <= limit:
        return _write(page, target, None, total, total)
    room = limit - _folder_bytes(report, panels=False)
    each = _folder_bytes(report, only_panels=True) / max(total, 1)
    share = Share()
    while True:
        chosen = _chosen(page.members, share) | named
        if len(chosen) * each <= MARGIN * room or share == _NONE:
            written = _write(page, target, chosen, total, len(chosen), share)
            if written.n_bytes <= limit or share == _NONE:
                break
        share = _halved(share)
    if written.n_bytes > limit:
        target.unlink()
        raise Failure(
            f"One file takes {written.n_bytes / MB:.1f} MB with the panels of {len(chosen):,} units, above --max-mb "
            f"{max_mb:g}; give more, or send the folder {report}."
        )
    return written


_NONE = Share(extremes=0, a_decile=0, uniform=0)


def _halved(share: Share) -> Share:
    return replace(share, extremes=share.extremes // 2, a_decile=share.a_decile // 2, uniform=share.uniform // 2)


def _write(
    page: ReportPage, target: Path, chosen: set[tuple[int, int]] | None, total: int, details: int, share: Share = _NONE
) -> SingleFile:
    said = None if chosen is None else _said(page, details, total, share)
    keep = all_kept if chosen is None else (lambda member, place: (member, place) in chosen)
    html = page.page(said).in_one_file(page.data(page.panels(keep)))
    write_bytes(target, html)
    return SingleFile(path=target, units=total, details=details, n_bytes=len(html))


def _chosen(members: Iterable[MemberUnits], share: Share) -> set[tuple[int, int]]:
    """(member, place) of the units of a share."""
    generator = np.random.default_rng(SEED)
    chosen: set[tuple[int, int]] = set()
    everything = []
    for units in members:
        everything += [(units.index, place) for place in range(units.n)]
        chosen |= {(units.index, int(place)) for place in _extremes(units, share.extremes)}
        chosen |= {(units.index, int(place)) for place in _by_density(units, share.a_decile, generator)}
    drawn = generator.permutation(len(everything))[: share.uniform]
    return chosen | {everything[i] for i in drawn}


def _extremes(units: MemberUnits, n: int) -> NDArray[np.int64]:
    score = units.scores[RULES] if np.isfinite(units.scores[RULES]).any() else units.floats("token_r2")
    order = np.argsort(score, kind="stable")[: int(np.isfinite(score).sum())]  # NaN stands last
    return np.concatenate([order[:n], order[max(len(order) - n, 0) :]])


def _by_density(units: MemberUnits, n: int, generator: np.random.Generator) -> Iterator[int]:
    density = units.floats("density")
    alive = np.argsort(density, kind="stable")[int((density == 0).sum()) :]
    for decile in np.array_split(alive, 10):
        yield from generator.permutation(decile)[:n].tolist()


def _said(page: ReportPage, details: int, total: int, share: Share) -> str:
    score = "Rules, F1" if page.tables.has("scores") else "token R²"
    return (
        f"One file: {details:,} of {total:,} units have a panel. Of each dictionary the {share.extremes} highest and "
        f"lowest by {score} and {share.a_decile} of each tenth by density; of all {share.uniform} drawn at random; and "
        "those that were asked for. The table has all; the folder of the report has all panels."
    )


def _named(page: ReportPage, name: str) -> tuple[int, int]:
    member, _, number = name.rpartition("/")
    for units in page.members:
        if units.name == member and number.isdigit() and int(number) in units.places:
            return units.index, units.places[int(number)]
    raise Misuse(f"The report has no unit {name!r}; write MEMBER/NUMBER, as in the address of its panel.")


def _folder_bytes(report: Path, *, panels: bool = True, only_panels: bool = False) -> int:
    """Of the page and what it loads. Its data are base64 in the folder too, so one file takes as much."""
    files = [report / "index.html", *(report / "data").rglob("*.js"), *(report / "assets").glob("*.*s")]
    own = {path for path in files if path.parent.name == "units"}
    kept = own if only_panels else set(files) if panels else set(files) - own
    return sum(path.stat().st_size for path in kept)
