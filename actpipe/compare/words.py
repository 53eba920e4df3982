"""A comparison in words: a sentence a claim and a headline verdict, and the Markdown summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .designs import AS_GIVEN, ISO_LOSS, ISO_PARAMETER
from .matching import ends, flops, matching_rows
from .measures import HEADLINE
from .stand import Row
from .systems import ALL

_OPENING = {
    "better": "{first} is better than {second}",
    "worse": "{second} is better than {first}",
    "no difference": "no difference between {first} and {second}",
    "undecided": "undecided between {first} and {second}",
    "no overlap": "no overlap between {first} and {second}",
    "withheld": "withheld between {first} and {second}",
}
_WHERE = {AS_GIVEN: "as given", ISO_PARAMETER: "at equal parameters and L0", ISO_LOSS: "at matched loss and L0"}
_IN_ORDER = (ISO_LOSS, ISO_PARAMETER, AS_GIVEN)


def claim_sentences(claims: Sequence[Row]) -> list[str]:
    """`crate is better than gpt at matched loss and L0; exploratory (2 seeds). It holds …`"""
    said = []
    for row in claims:
        opening = _OPENING[row["claim"]].format(first=row["first"], second=row["second"])
        where = " at matched loss and L0" if row["claim"] in ("better", "worse") else ""
        seeds = f"{row['seeds']} seed{'s' * (row['seeds'] != 1)}"
        end = f"; exploratory ({seeds})" if row["exploratory"] else ""
        said.append(f"{opening}{where}{end}. {row['reason']}")
    return said


def headline(verdicts: Sequence[Row]) -> list[Row]:
    """Of each pair and metric the verdict of the strictest design that the arms allow, over all units of all layers."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in verdicts:
        if (row["role"], row["stratum"], row["place"], row["twin"]) == ("headline", "all", ALL, False):
            found.setdefault((row["first"], row["second"], row["metric"]), {})[row["design"]] = row
    return [next(each[design] for design in _IN_ORDER if design in each) for each in found.values()]


def sentences(verdicts: Sequence[Row], pairs: Sequence[Row]) -> list[str]:
    known = by_key(pairs)
    return [_sentence(row, known) for row in headline(verdicts)]


_KEY = ("first", "second", "twin", "place", "design", "metric", "stratum")


def by_key(pairs: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    return {tuple(row[name] for name in (*_KEY, "estimate")): row for row in pairs}


def _sentence(verdict: Row, pairs: Mapping[tuple[Any, ...], Row]) -> str:
    """`rules_f1_std, at matched loss and L0: A is better than B, A − B = 0.12 (0.09 to 0.15); exploratory. A is …`"""
    row = pairs[(*(verdict[name] for name in _KEY), "mean")]
    opening = _OPENING[verdict["verdict"]].format(first=verdict["first"], second=verdict["second"])
    known = row["low"] is not None and not np.isnan(row["low"])
    between = f"{verdict['first']} − {verdict['second']}"
    numbers = f", {between} = {row['difference']:.3f} ({row['low']:.3f} to {row['high']:.3f})" if known else ""
    end = "; exploratory" if verdict["exploratory"] else ""
    return f"{verdict['metric']}, {_WHERE[verdict['design']]}: {opening}{numbers}{end}. {verdict['reason']}"


def summary_of(found: Mapping[str, Any], tables: Mapping[str, Sequence[Row]], figures: Mapping[str, str]) -> str:
    """summary.md, from what compare.json holds and the rows of the tables. `figures`: title of each file's stem."""
    lints = [f"* {lint['number']}, {lint['name']}: {escaped(lint['text'])}" for lint in found["lints"]]
    parts = [
        "# Comparison",
        "## Claims",
        *(f"* {escaped(text)}" for text in found["claims"]),
        "## Verdicts by metric",
        *(f"* {escaped(text)}" for text in found["verdicts"]),
        "",
        "Over all alive units of all layers, each with the same weight; intervals are of 95 %.",
        *(f"![{title}](figures/{stem}.png)" for stem, title in figures.items()),
        "## How well the arms are matched",
        markdown(matching_rows(found["arms"])),
        "## Where they can be compared",
        markdown(design_rows(tables["designs"])),
        "## What speaks against it",
        *(lints or ["Nothing that is recorded."]),
        "",
        "## Means of the headline metrics",
        markdown(mean_rows(tables["means"])),
        "## Differences",
        markdown(difference_rows(tables["pairs"], tables["verdicts"])),
        "## Hypervolumes",
        markdown(volume_rows(tables["hypervolumes"])),
        "",
    ]
    return "\n\n".join(_joined(parts))


def arm_rows(arms: Sequence[Mapping[str, Any]], means: Sequence[Row]) -> list[list[str]]:
    """A row an arm: what it costs, and the first headline metric that any has, above its hardest control. Ranges are
    over levels; the interval is that of an arm with one."""
    own = [row for row in means if (row["place"], row["stratum"], row["twin"]) == (ALL, "all", False) and row["n"]]
    metric = next((name for name in HEADLINE if any(row["metric"] == name for row in own)), HEADLINE[0])
    rows = []
    for arm in arms:
        scored = [row for row in own if (row["arm"], row["metric"]) == (arm["arm"], metric)]
        loss = ends(arm["loss"], ".3f" if arm["scale"] == "system" else "+.3f")
        above = ends(sorted(row["delta"] for row in scored), ".3f")
        if len(scored) == 1:
            above = _with_interval(scored[0]["delta"], scored[0]["delta_low"], scored[0]["delta_high"])
        rows.append([arm["arm"], _at_most(arm["flops"]), loss, ends(arm["l0"], ".3g"), above])
    return [["arm", "FLOPs", "loss", "L0_eff", f"{metric} − control"], *rows]


def _at_most(values: Sequence[float]) -> str:
    return ("≤ " if len(set(values)) > 1 else "") + flops(values[-1:])


def mean_rows(means: Sequence[Row]) -> list[list[str]]:
    head = ["metric", "stratum", "arm", "level", "mean", "interval", "n", "by contribution", "above its control"]
    rows = [
        [row["metric"], row["stratum"], row["arm"] + (" before training" if row["twin"] else ""), row["level"] or "–",
         number(row["mean"]), _interval(row["low"], row["high"]), str(row["n"] or 0), number(row["contribution_mean"]),
         _with_interval(row["delta"], row["delta_low"], row["delta_high"])]
        for row in means
        if row["role"] == "headline" and row["place"] == ALL and row["n"]
    ]  # fmt: skip
    return [head, *rows]


def design_rows(designs: Sequence[Row]) -> list[list[str]]:
    head = ["arms", "design", "loss", "L0_eff", "status"]
    rows = [
        [f"{row['first']}, {row['second']}", row["design"], _two(row["first_loss"], row["second_loss"]),
         _two(row["first_l0"], row["second_l0"]), _status(row)]
        for row in designs
        if row["place"] == ALL and not row["twin"]
    ]  # fmt: skip
    return [head, *rows]


def _status(row: Row) -> str:
    if not row["reason"] or row["reason"].startswith(row["status"]):
        return str(row["reason"] or row["status"])
    return f"{row['status']}: {row['reason']}"


def difference_rows(pairs: Sequence[Row], verdicts: Sequence[Row]) -> list[list[str]]:
    head = ["metric", "stratum", "design", "arms", "mean", "at equal densities", "above control", "verdict"]
    known = by_key(pairs)
    rows = []
    for each in verdicts:
        if each["role"] != "headline" or each["place"] != ALL or each["twin"]:
            continue
        key = tuple(each[name] for name in _KEY)
        cells = [_difference(known[(*key, estimate)]) for estimate in ("mean", "density_adjusted", "above_control")]
        said = each["verdict"] + (" (exploratory)" if each["exploratory"] else "")
        arms = f"{each['first']} − {each['second']}"
        rows.append([each["metric"], each["stratum"], each["design"], arms, *cells, said])
    return [head, *rows]


def volume_rows(volumes: Sequence[Row]) -> list[list[str]]:
    head = ["metric", "arms", "first", "second", "difference"]
    rows = [
        [row["metric"], f"{row['first']} − {row['second']}", number(row["first_volume"]), number(row["second_volume"]),
         _with_interval(row["difference"], row["low"], row["high"])]
        for row in volumes
        if row["place"] == ALL
    ]  # fmt: skip
    return [head, *rows]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [[escaped(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _difference(row: Row) -> str:
    if row["verdict"] == "no overlap":
        return "no overlap"
    return _with_interval(row["difference"], row["low"], row["high"])


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    return "–" if number(value) == "–" else f"{number(value)} ({_interval(low, high)})"


def _interval(low: float | None, high: float | None) -> str:
    return f"{number(low)} to {number(high)}"


def _two(first: float | None, second: float | None) -> str:
    return "–" if number(first) == "–" else f"{number(first)}, {number(second)}"


def number(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"


def escaped(text: str) -> str:
    """Names are data: nothing in them draws a table or a tag."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _joined(parts: Sequence[str]) -> list[str]:
    """Items of a list on lines of their own, without an empty one between them."""
    blocks: list[str] = []
    for part in parts:
        if part.startswith("* ") and blocks and blocks[-1].startswith("* "):
            blocks[-1] += "\n" + part
        elif part:
            blocks.append(part)
    return [*blocks[:-1], blocks[-1] + "\n"]
