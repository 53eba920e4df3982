"""What may be said of two arms as a whole: one row a pair, and why not more.

"Better" is claimed where all of this holds, over all units of all layers:
    1  the interval of the difference in hypervolume excludes 0, for rules, which need no judge
    2  the verdict is "better" for rules and for at least one metric of another kind
    3  in both designs, iso-parameter and iso-loss
    4  the untrained twins do not show the same, unless both arms stand on the same models
    5  each arm has five seeds; with fewer it is exploratory
What holds in part is withheld, and the reason says which part fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from actpipe.analysis.statistics.intervals import FEW_SEEDS

from .designs import ISO_LOSS, ISO_PARAMETER, Design, models
from .measures import HEADLINE
from .pairs import Sides
from .stand import Row
from .systems import ALL
from .verdicts import OPPOSITE

PRIMARY = HEADLINE[0]
MATCHED = (ISO_PARAMETER, ISO_LOSS)
HYPERVOLUME, TWINS = "hypervolume", "twins"  # the parts of the rule that are not designs


class Said(NamedTuple):
    claim: str
    reason: str
    looks: str | None = None  # of what is withheld: what would be claimed of the first arm
    lacks: tuple[str, ...] = ()  # and which parts of the rule fail


def claim_rows(sides: Sequence[Sides], verdicts: Sequence[Row], volumes: Sequence[Row]) -> list[Row]:
    """Rows of claims.parquet. `verdicts` hold those of the twins too."""
    return [_claim(each, verdicts, volumes) for each in sides if each.first.place == ALL]


def _claim(sides: Sides, verdicts: Sequence[Row], volumes: Sequence[Row]) -> Row:
    mine = [
        row
        for row in verdicts
        if (row["first"], row["second"]) == sides.names
        and (row["place"], row["stratum"], row["role"]) == (ALL, "all", "headline")
    ]
    volume = next(
        (row for row in volumes if (row["first"], row["second"], row["place"], row["metric"])
         == (*sides.names, ALL, PRIMARY)), None
    )  # fmt: skip
    said = _said(sides, mine, volume)
    exploratory = min(sides.seeds) < FEW_SEEDS
    return {"first": sides.names[0], "second": sides.names[1], **said._asdict(),
            "exploratory": exploratory, "seeds": min(sides.seeds)}  # fmt: skip


def _said(sides: Sides, verdicts: Sequence[Row], volume: Row | None) -> Said:
    trained = [row for row in verdicts if not row["twin"]]
    if sides.same:
        return Said("no difference", "Their units are the same ones.")
    if all(sides.design(name).status == "no overlap" for name in MATCHED):
        return Said("no overlap", f"There is {sides.design(ISO_LOSS).reason}.{_ahead(sides, volume)}")
    leading = _leading(trained, volume)
    if leading is None:
        return _undirected(trained, sides.design(ISO_LOSS))
    lacking = _lacking(sides, leading, trained, [row for row in verdicts if row["twin"]], volume)
    if not lacking:
        return Said(leading, "It holds at equal parameters and at equal loss, in hypervolume, and not before training.")
    reason = f"The first arm looks {leading}, but {'; '.join(lacking.values())}."
    return Said("withheld", reason, leading, tuple(lacking))


def _leading(verdicts: Sequence[Row], volume: Row | None) -> str | None:
    """The side that some evidence names, if none names the other: matched designs first, then the hypervolume."""
    found = {row["verdict"] for row in verdicts if row["design"] in MATCHED and row["verdict"] in OPPOSITE}
    if not found and volume is not None and (side := _side(volume)) is not None:
        found = {side}
    if not found:
        found = {row["verdict"] for row in verdicts if row["verdict"] in OPPOSITE}
    return found.pop() if len(found) == 1 else None


def _undirected(verdicts: Sequence[Row], iso_loss: Design) -> Said:
    said = {row["verdict"] for row in verdicts if row["design"] in MATCHED}
    if len(said & set(OPPOSITE)) > 1:
        return Said("undecided", "Metrics and designs name different arms.")
    if iso_loss.status == "no overlap":
        return Said("no overlap", f"There is {iso_loss.reason}.")
    if said == {"no difference"}:
        return Said("no difference", "Every headline metric lies within the margin in every design.")
    if "no overlap" in said:
        return Said("no overlap", "Densities of the units hardly overlap.")
    return Said("undecided", "No headline metric decides.")


def _lacking(
    sides: Sides, leading: str, trained: Sequence[Row], twins: Sequence[Row], volume: Row | None
) -> dict[str, str]:
    """Part of the rule that fails → how."""
    lacking = {}
    if volume is None:
        lacking[HYPERVOLUME] = "hypervolumes cannot be computed without losses"
    elif _side(volume) != leading:
        lacking[HYPERVOLUME] = "the interval of the difference in hypervolume does not exclude 0 on that side"
    for name in MATCHED:
        design = sides.design(name)
        if design.status != "matched":
            lacking[name] = f"the {name} design has no levels to compare ({design.reason})"
            continue
        won = [row["metric"] for row in trained if row["design"] == name and row["verdict"] == leading]
        if PRIMARY not in won or len(won) < 2:
            of = f"only {' and '.join(won)} says so" if won else "no metric says so"
            lacking[name] = f"in the {name} design {of}, where {PRIMARY} and another must"
    if models(sides.first.arm) != models(sides.second.arm) and (how := _of_twins(sides, leading, twins)):
        lacking[TWINS] = how
    return lacking


def _of_twins(sides: Sides, leading: str, twins: Sequence[Row]) -> str:
    missing = [stood.arm.name for stood in sides[:2] if stood.arm.twin is None]
    if missing:
        return f"{missing[0]} has no untrained twin" if len(missing) == 1 else "neither has a twin"
    shown = sorted({row["metric"] for row in twins if row["verdict"] == leading})
    return f"the untrained twins show the same ({', '.join(shown)})" if shown else ""


def _ahead(sides: Sides, volume: Row | None) -> str:
    side = None if volume is None else _side(volume)
    if side is None:
        return ""
    first, second = sides.names if side == "better" else sides.names[::-1]
    return f" In hypervolume {first} is ahead of {second}."


def _side(volume: Row) -> str | None:
    return "better" if volume["low"] > 0 else "worse" if volume["high"] < 0 else None
