"""From the estimates of a pair of arms to one verdict a metric and stratum, with the reason in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actpipe.analysis.statistics.intervals import FEW_SEEDS

from .overlap import LEAST_OVERLAP
from .pairs import FEWEST, Row, Sides

OPPOSITE = {"better": "worse", "worse": "better"}


def verdict_rows(sides: Sequence[Sides], pairs: Sequence[Row], means: Sequence[Row]) -> list[Row]:
    """Rows of verdicts.parquet."""
    beats = {(row["arm"], row["metric"], row["stratum"]): row["beats_control"] for row in means}
    few = {(each.first.name, each.second.name): min(each.seeds) < FEW_SEEDS for each in sides}
    same = {(each.first.name, each.second.name) for each in sides if each.same}
    asked: dict[tuple[str, str, str, str], dict[str, Row]] = {}
    for row in pairs:
        asked.setdefault((row["first"], row["second"], row["metric"], row["stratum"]), {})[row["estimate"]] = row
    rows = []
    for (first, second, metric, stratum), found in asked.items():
        verdict, reason = _together(
            found, {name: beats[name, metric, stratum] for name in (first, second)}, same=(first, second) in same
        )
        names = {"first": first, "second": second, "metric": metric, "role": found["mean"]["role"], "stratum": stratum}
        rows.append({**names, "verdict": verdict, "reason": reason, "exploratory": few[first, second]})
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
