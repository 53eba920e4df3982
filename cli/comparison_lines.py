"""A comparison as `actpipe compare` shows it: claims in words, the arms, what fires, and where the rest is."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from actpipe.analysis.statistics.intervals import FEW_SEEDS
from actpipe.compare.claims import HYPERVOLUME, TWINS
from actpipe.compare.designs import ISO_LOSS, ISO_PARAMETER
from actpipe.compare.lints import counted
from actpipe.compare.stand import Row
from actpipe.compare.words import arm_rows

NARROWEST, WIDEST = 60, 140
PIPED = 100  # columns where nobody says how many there are
UNBROKEN = "\N{NO-BREAK SPACE}"
PARTS = {
    HYPERVOLUME: "hypervolume",
    ISO_PARAMETER: "parameters",
    ISO_LOSS: "loss",
    TWINS: "twins",
}
WITHHELD = (
    "Withheld: an arm is ahead, but not in all that a claim needs: the hypervolume, levels at equal parameters and at "
    "equal loss, untrained twins that do not show the same."
)

_SAID = {
    "no difference": "without difference",
    "no overlap": "without overlap",
    "undecided": "undecided",
    "withheld": "withheld",
}


def terminal_width() -> int:
    return min(max(shutil.get_terminal_size((PIPED, 24)).columns, NARROWEST), WIDEST)


def comparison_lines(found: Mapping[str, Any], tables: Mapping[str, Sequence[Row]], width: int) -> Iterator[str]:
    """Of what compare.json and its tables hold. What is left out is in summary.md."""
    claims = tables["claims"]
    yield from _folded(_opening(found, claims), width)
    if len(claims) > 1:
        yield ""
        longest = max(len(row["claim"]) for row in claims) + 2
        for row in claims:
            said = "better" if row["claim"] == "worse" else row["claim"]
            yield from _folded(f"{said:<{longest}}{_of_pair(row)}", width, longest)
        if any(row["claim"] == "withheld" for row in claims):
            yield from _folded(WITHHELD, width)
    yield ""
    yield from aligned(arm_rows(found["arms"], tables["means"]), width)
    yield ""
    yield from _folded(_lints(found), width, 2)
    yield ""
    yield from _files(Path(found["out"]))


def _folded(text: str, width: int, indent: int = 0) -> list[str]:
    """Names stay whole."""
    lines = textwrap.wrap(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace(UNBROKEN, " ") for line in lines]


def _opening(found: Mapping[str, Any], claims: Sequence[Row]) -> str:
    """The claim on a pair, or how many pairs came out how."""
    if len(claims) == 1:
        claim: str = found["claims"][0]
        return claim
    counts = Counter("better" if row["claim"] == "worse" else row["claim"] for row in claims)
    better = counts.pop("better", 0)
    others = ", ".join(f"{times} {_SAID[name]}" for name, times in counts.most_common())
    said = f"Of {len(claims)} pairs of arms, {better or 'none'} {'have' if better > 1 else 'has'} a better one"
    return f"{said}{'; ' * bool(others)}{others}.{_exploratory(claims)}"


def _exploratory(claims: Sequence[Row]) -> str:
    n = sum(row["exploratory"] for row in claims)
    if not n:
        return ""
    which = "All" if n == len(claims) else f"{n} of them"
    return f" {which} are exploratory: a claim needs {FEW_SEEDS} seeds of each arm."


def _of_pair(row: Row) -> str:
    first, second = row["first"], row["second"]
    if row["claim"] in ("better", "worse"):
        ahead, behind = (first, second) if row["claim"] == "better" else (second, first)
        return f"{ahead} than {behind}, at matched loss and L0"
    if row["claim"] == "withheld":
        ahead, behind = (first, second) if row["looks"] == "better" else (second, first)
        return f"{ahead} ahead of {behind}; fails: {', '.join(PARTS[part] for part in row['lacks'])}"
    why = row["reason"].partition(":")[0].partition(". ")[0].rstrip(".").removeprefix("There is no overlap ")
    return f"{first}, {second}: {why[0].lower()}{why[1:]}"


def _lints(found: Mapping[str, Any]) -> str:
    counts = counted(found["lints"], len(found["arms"]))
    if not counts:
        return "No lint fires."
    said = [f"{each.name} ({each.times} of {each.of} {each.what})".replace(" ", UNBROKEN) for each in counts]
    return f"Lints, the worst first: {', '.join(said)}."


def _files(out: Path) -> Iterator[str]:
    yield f"Page      {out / 'index.html'}"
    yield f"Summary   {out / 'summary.md'}: every number and sentence"
    yield f"Figures   {out / 'figures'}: PNG and SVG"
    yield f"Tables    {out / 'parquet'}: for programs"


def aligned(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Cells in columns as wide as the widest; the name in the first is cut where the row would be too long."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    widths[0] = max(min(widths[0], width - sum(widths[1:]) - 2 * len(widths[1:])), 8)
    return ["  ".join(_cut(cell, n).ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
