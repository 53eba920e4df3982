"""A comparison in words: a sentence a headline verdict, and the Markdown summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .matching import matching_rows
from .pairs import Row

_Key = tuple[str, str, str, str, str]  # first, second, metric, stratum, estimate
_OPENING = {
    "better": "{first} is better than {second}",
    "worse": "{second} is better than {first}",
    "no difference": "no difference between {first} and {second}",
    "undecided": "undecided between {first} and {second}",
    "no overlap": "no overlap between {first} and {second}",
}


def headline(verdicts: Sequence[Row]) -> list[Row]:
    return [row for row in verdicts if row["role"] == "headline" and row["stratum"] == "all"]


def sentence(verdict: Row, pairs: Mapping[_Key, Row]) -> str:
    """`rules_f1_std: A is better than B, A − B = 0.12 (0.09 to 0.15); exploratory. A is ahead by …`"""
    row = pairs[verdict["first"], verdict["second"], verdict["metric"], verdict["stratum"], "mean"]
    opening = _OPENING[verdict["verdict"]].format(first=verdict["first"], second=verdict["second"])
    known = row["low"] is not None and not np.isnan(row["low"])
    between = f"{verdict['first']} − {verdict['second']}"
    numbers = f", {between} = {row['difference']:.3f} ({row['low']:.3f} to {row['high']:.3f})" if known else ""
    end = "; exploratory" if verdict["exploratory"] else ""
    return f"{verdict['metric']}: {opening}{numbers}{end}. {verdict['reason']}"


def sentences(verdicts: Sequence[Row], pairs: Sequence[Row]) -> list[str]:
    known = by_key(pairs)
    return [sentence(row, known) for row in headline(verdicts)]


def by_key(pairs: Sequence[Row]) -> dict[_Key, Row]:
    return {(row["first"], row["second"], row["metric"], row["stratum"], row["estimate"]): row for row in pairs}


def summary_of(found: Mapping[str, Any], tables: Mapping[str, Sequence[Row]]) -> str:
    """summary.md, from what compare.json holds and the rows of the tables."""
    lints = [f"* {lint['number']}, {lint['name']}: {_escaped(lint['text'])}" for lint in found["lints"]]
    parts = [
        "# Comparison",
        "## Verdict",
        *(f"* {_escaped(text)}" for text in found["verdicts"]),
        "",
        "Over all alive units, each with the same weight; intervals are of 95 %.",
        "## How well the arms are matched",
        markdown(matching_rows(found["arms"])),
        "## What speaks against it",
        *(lints or ["Nothing that is recorded."]),
        "",
        "Intervals are over units and seeds, not over documents.",
        "## Means of the headline metrics",
        markdown(mean_rows(tables["means"])),
        "## Differences",
        markdown(difference_rows(tables["pairs"], tables["verdicts"])),
        "",
    ]
    return "\n\n".join(_joined(parts))


def mean_rows(means: Sequence[Row]) -> list[list[str]]:
    head = ["metric", "stratum", "arm", "mean", "interval", "n", "above its control"]
    rows = [
        [row["metric"], row["stratum"], row["arm"], _number(row["mean"]), _interval(row["low"], row["high"]),
         str(row["n"] or 0), _with_interval(row["delta"], row["delta_low"], row["delta_high"])]
        for row in means
        if row["role"] == "headline" and row["n"]
    ]  # fmt: skip
    return [head, *rows]


def difference_rows(pairs: Sequence[Row], verdicts: Sequence[Row]) -> list[list[str]]:
    head = ["metric", "stratum", "arms", "mean", "at equal densities", "above control", "verdict"]
    known = by_key(pairs)
    rows = []
    for each in verdicts:
        if each["role"] != "headline":
            continue
        key = (each["first"], each["second"], each["metric"], each["stratum"])
        cells = [_difference(known[(*key, estimate)]) for estimate in ("mean", "density_adjusted", "above_control")]
        said = each["verdict"] + (" (exploratory)" if each["exploratory"] else "")
        rows.append([each["metric"], each["stratum"], f"{each['first']} − {each['second']}", *cells, said])
    return [head, *rows]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [[_escaped(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _difference(row: Row) -> str:
    if row["verdict"] == "no overlap":
        return "no overlap"
    return _with_interval(row["difference"], row["low"], row["high"])


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    return "–" if _number(value) == "–" else f"{_number(value)} ({_interval(low, high)})"


def _interval(low: float | None, high: float | None) -> str:
    return f"{_number(low)} to {_number(high)}"


def _number(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"


def _escaped(text: str) -> str:
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
