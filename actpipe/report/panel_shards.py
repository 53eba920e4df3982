"""The panels of all units → data of SHARD_UNITS panels each, which the page loads when a reader opens a unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .member_units import MemberUnits
from .panels import Panels
from .payload import Vocabulary
from .predicted import Predictor
from .tables import Row
from .windows import by_unit, shown, thinned

SHARD_UNITS = 64  # a data file holds the panels of so many units
_WINDOW = ["member", "feature", "sign", "document", "tokens", "activations", "peak"]

Keep = Callable[[int, int], bool]  # member and place of a unit → whether the page holds its panel


def all_kept(_member: int, _place: int) -> bool:
    return True


def shards(
    members: Sequence[MemberUnits], vocabulary: Vocabulary, wanted: range, keep: Keep = all_kept
) -> Iterator[tuple[str, list[Any]]]:
    """(key, panels) of those shards; panels that are not kept are null.

    Units are counted over all dictionaries in the order of the tables, so that one shard may hold units of two.
    """
    panels = _panels(members, vocabulary, range(wanted.start * SHARD_UNITS, wanted.stop * SHARD_UNITS), keep)
    for number in wanted:
        yield f"units/{number}", [panel for _, panel in zip(range(SHARD_UNITS), panels, strict=False)]


def _panels(members: Sequence[MemberUnits], vocabulary: Vocabulary, wanted: range, keep: Keep) -> Iterator[Any]:
    """Of units in turn, counted over all dictionaries."""
    numbering = {units.name: units.index for units in members}
    widths = {units.name: int(units.member["width"]) for units in members}
    before = 0
    for units in members:
        places = range(max(wanted.start - before, 0), min(wanted.stop - before, units.n))
        before += units.n
        if places:
            yield from _of_dictionary(units, Panels(units, vocabulary, numbering, widths), places, keep)
            units.forget()


def _of_dictionary(units: MemberUnits, panels: Panels, places: range, keep: Keep) -> Iterator[Any]:
    windows = Windows(units, places)
    for place in places:
        number = units.columns["feature"][place]
        top, samples = windows.of(number)
        if not keep(units.index, place):
            yield None
            continue
        rules = next((row["rule"] for row in units.explanations.get(number, []) if row["source"] == "rules"), None)
        yield panels.blocks(place, shown(top, samples, Predictor(rules) if rules else None))


class Windows:
    """Windows of some units of a dictionary, asked for in the order of the tables; read as they are needed."""

    def __init__(self, units: MemberUnits, places: range) -> None:
        tables, name, is_all = units.tables, units.name, len(places) == units.n
        wanted = pa.array(units.columns["feature"][places.start : places.stop], pa.int32())

        def parts(table: str, column: str) -> Iterator[pa.Table]:
            for part in tables.parts_of_member(table, name, [*_WINDOW, column]):
                yield part if is_all else part.filter(pc.is_in(part["feature"], wanted))

        self._top = Runs(by_unit(parts("examples", "rank")))
        samples = parts("samples", "stratum") if tables.has("samples") else iter(())
        self._samples = Runs(by_unit(thinned(samples)))

    def of(self, number: int) -> tuple[list[Row], list[Row]]:
        return self._top.of(number), self._samples.of(number)


class Runs:
    """(number, rows) in the order of the units, some left out."""

    def __init__(self, runs: Iterator[tuple[int, list[Row]]]) -> None:
        self._runs = runs
        self._next = next(runs, None)

    def of(self, number: int) -> list[Row]:
        if self._next is None or self._next[0] != number:
            return []
        rows = self._next[1]
        self._next = next(self._runs, None)
        return rows
