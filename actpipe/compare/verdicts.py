"""From the estimates of a pair of arms to one verdict a design, metric and stratum, with the reason in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actpipe.analysis.statistics.intervals import FEW_SEEDS

from .overlap import LEAST_OVERLAP
from .pairs import FEWEST, Sides
from .stand import Row

OPPOSITE = {"better": "worse", "worse": "better"}
KEYS = ("first", "second", "twin", "place", "design", "metric", "stratum")


def verdict_rows(sides: Sequence[Sides], pairs: Sequence[Row], means: Sequence[Row]) -> list[Row]:
    """Rows of verdicts.parquet."""
    beats: dict[tuple[Any, ...], bool] = {}
    for row in means:  # an arm beats its control where every level does
        of_arm = (row["arm"], row["twin"], row["place"], row["metric"], row["stratum"])
        beats[of_arm] = beats.get(of_arm, True) and row["beats_control"]
    known = {(*each.names, each.first.place): each for each in sides}
    asked: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in pairs:
        asked.setdefault(tuple(row[name] for name in KEYS), {})[row["estimate"]] = row
    rows = []
    for key, found in asked.items():
        named = dict(zip(KEYS, key, strict=True))
        side = known[named["first"], named["second"], named["place"]]
        above = {
            name: beats[name, named["twin"], named["place"], named["metric"], named["stratum"]] for name in side.names
        }
        verdict, reason = _together(found, above, same=side.same)
        exploratory = min(side.seeds) < FEW_SEEDS
        said = {"role": found["mean"]["role"], "verdict": verdict, "reason": reason, "exploratory": exploratory}
        rows.append(named | said)
    return rows


def _together(found: Mapping[str, Row], beats: Mapping[str, bool], *, same: bool) -> tuple[str, str]:
    mean, adjusted, above = (found[name]["verdict"] for name in ("mean", "density_adjusted", "above_control"))
    row = found["mean"]
    counts = [row["first_n"] or 0, row["second_n"] or 0]
    if min(counts) < FEWEST and not (same and min(counts) > 0):
        return "undecided", f"Only {counts[0]} and {counts[1]} units have a score."
    if adjusted == "no overlap":
        return adjusted, f"Densities overlap by {row['overlap']:.2f}, less than {LEAST_OVERLAP:g}."
    if mean == adjusted == "no difference":
        return mean, "The difference lies within the margin, at equal densities too."
    if mean not in OPPOSITE:
        if adjusted in OPPOSITE:
            return "undecided", f"At equal densities the first arm is {adjusted}; its plain mean does not say so."
        return "undecided", "The interval of the difference reaches to both sides of the margin or across it."
    if adjusted != mean:
        return "undecided", f"The plain mean is {mean}; at equal densities the verdict is {adjusted!r}."
    winner = row["first"] if mean == "better" else row["second"]
    if not beats[winner]:
        return "undecided", f"{winner} is ahead but not above its own hardest control."
    if above == OPPOSITE[mean]:
        return "undecided", f"{winner} is ahead, but the other arm is further above its control."
    return mean, f"{winner} is ahead by more than the margin, at equal densities too, and beats its control."
