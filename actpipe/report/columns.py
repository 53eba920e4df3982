"""The table of all units: which columns there are, what heads them, how the page writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .member_units import RULES, MemberUnits
from .payload import numbers
from .windows import rows_of

BEFORE, AFTER = 9, 5  # tokens around the peak of the strongest context
TOP_TOKENS = 3
_AT_1 = "F1, at a prevalence of 1 %,"

Values = Sequence[Any] | NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    field: str
    title: str
    kind: str  # how table.js writes, sorts and filters it: number, share, unit, interval, text, tokens, context
    about: str  # shown where the pointer rests on the title
    of: Callable[[MemberUnits], Values]
    shown: bool = True  # at first; readers choose others
    width: int = 84


def _score(metric: str) -> Callable[[MemberUnits], Values]:
    return lambda units: units.scores[metric]


def _activity(column: str) -> Callable[[MemberUnits], Values]:
    return lambda units: units.columns[column]


def _judged(metric: str, protocol: str | None = None) -> Callable[[MemberUnits], Values]:
    """By the best judge that was asked: a certified one, with the highest grade."""

    def values(units: MemberUnits) -> Values:
        rows = [row for rows in units.judgements.values() for row in rows if row["metric"] == metric]
        rows = [row for row in rows if row["control"] is None and protocol in (None, row["protocol"])]
        rows.sort(key=lambda row: (row["certified"], row["exam_grade"] or 0))
        return units.spread(rows, "value")  # the last one stays

    return values


def _effect(metric: str) -> Callable[[MemberUnits], Values]:
    return lambda units: units.spread(
        [row for rows in units.effects.values() for row in rows if row["metric"] == metric], "value"
    )


def _found_in_seeds(units: MemberUnits) -> Values:
    found = {number: rows[0] for number, rows in units.seeds.items() if rows[0]["seeds"]}
    shares = [{"feature": number, "share": row["by_direction"] / row["seeds"]} for number, row in found.items()]
    return units.spread(shares, "share")


def _says(units: MemberUnits) -> Values:
    first = {number: rows[0]["text"] for number, rows in units.explanations.items()}
    return [first.get(number, "").removeprefix("fires on ") or None for number in units.columns["feature"]]


def _top_tokens(units: MemberUnits) -> Values:
    return [(tokens or [])[:TOP_TOKENS] for tokens in units.columns["top_tokens"]]


def _concept(units: MemberUnits) -> Values:
    return [
        units.concepts[number][0]["concept"] if number in units.concepts else None
        for number in units.columns["feature"]
    ]


def _strongest(units: MemberUnits) -> list[list[Any] | None]:
    """[tokens, peak] around the peak of the strongest window of each unit."""
    around: list[list[Any] | None] = [None] * units.n
    for row in rows_of(units.rows("examples", ["feature", "sign", "tokens", "peak"], rank=[0])):
        start = max(0, row["peak"] - BEFORE)
        tokens = row["tokens"][start : row["peak"] + 1 + AFTER]
        around[units.places[row["feature"]]] = [tokens, row["peak"] - start]
    return around


_DETECTION = _judged("balanced_accuracy", "detection")
_DISCRIMINATION = _judged("accuracy", "discrimination")
_MORE = False  # shown where a reader asks for it
COLUMNS = (
    Column("feature", "Unit", "integer", "its number", _activity("feature"), width=70),
    Column("says", "Explanation", "text", "rules that a program executes, or a judge's words", _says, width=230),
    Column("density", "Density", "share", "share of tokens on which it fires", _activity("density")),
    Column("rules", "Rules, F1", "interval", f"{_AT_1} of its rules on other text", _score(RULES), width=130),
    Column("rules_low", "F1, low", "unit", "95 % of Rules, F1", lambda units: units.interval[0], _MORE),
    Column("rules_high", "F1, high", "unit", "95 % of Rules, F1", lambda units: units.interval[1], _MORE),
    Column("above", "Δ control", "unit", "above the hardest control at its density", lambda units: units.above),
    Column("ms", "MS", "unit", "MonoSemanticity: how alike its texts are, 0 as at random", _score("ms_c"), width=66),
    Column("vendi", "Vendi", "number", "about how many things its texts are", _score("vendi"), width=76),
    Column("r2", "Token R²", "unit", "share of its variance that the current token explains", _activity("token_r2")),
    Column("concept", "Concept", "text", "the best of some 400 concepts", _concept, width=150),
    Column("concept_f1", "its F1", "unit", f"{_AT_1} of the best concept", _score("concept_f1_std"), width=72),
    Column("detection", "Detection", "unit", "balanced accuracy of the best judge", _DETECTION, width=92),
    Column("discrimination", "Discrim.", "unit", "told from a neighbour; 0.5 by chance", _DISCRIMINATION, width=88),
    Column("collides", "Collides", "integer", "1: not told from its neighbours", _judged("collision"), _MORE),
    Column("kl", "Ablation KL", "number", "nats where it fires, when it is silenced", _effect("kl_zero"), width=104),
    Column("seeds", "In seeds", "share", "share of the other seeds that have its direction", _found_in_seeds, width=86),
    Column("top", "Top tokens", "tokens", "with most of its activation", _top_tokens, _MORE, width=180),
    Column("entropy", "Entropy", "number", "bits, of its spread over tokens", _activity("token_entropy"), _MORE),
    Column("purity", "Purity", "unit", "share of its activation on the heaviest token", _activity("purity"), _MORE),
    Column("specificity", "Specificity", "number", "bits from the corpus", _activity("specificity"), _MORE),
    Column("beyond_words", "MS beyond words", "unit", "MS less that of words", _score("ms_beyond_words"), _MORE),
    Column("context", "Context share", "unit", "not explained by two tokens", _score("context_share"), _MORE),
    Column("cosine", "Nearest", "unit", "largest cosine with another unit", _score("nearest_cosine"), _MORE),
    Column("max", "Max", "number", "its largest activation", _activity("max"), _MORE),
    Column("count", "Firings", "integer", "tokens on which it fires", _activity("count"), _MORE),
)  # fmt: skip


class UnitTable:
    """Columns of all dictionaries, one after the other."""

    def __init__(self) -> None:
        self.values: dict[str, list[Any]] = {column.field: [] for column in COLUMNS} | {"member": [], "strongest": []}

    def add(self, units: MemberUnits) -> None:
        for column in COLUMNS:
            found = column.of(units)
            is_measured = isinstance(found, np.ndarray) or column.kind in ("number", "share", "unit", "integer")
            self.values[column.field] += numbers(found) if is_measured else list(found)
        self.values["member"] += [units.index] * units.n
        self.values["strongest"] += _strongest(units)

    def described(self, *, several_hooks: bool) -> list[dict[str, Any]]:
        """The columns that hold anything, for table.js."""
        named = [
            _described("arm", "Dictionary", "text", "of which it is a unit", width=120),
            _described("hook", "Hook", "text", "where it is read", shown=several_hooks, width=150),
            _described("mark", "Mark", "text", "★ where you marked it", shown=False, width=60),
            _described("strongest", "Strongest context", "context", "around its largest activation", width=250),
        ]
        unit, *others = [
            _described(c.field, c.title, c.kind, c.about, shown=c.shown, width=c.width)
            for c in COLUMNS
            if any(value not in (None, []) for value in self.values[c.field])
        ]
        return [unit, *named, *others]


def _described(field: str, title: str, kind: str, about: str, *, shown: bool = True, width: int) -> dict[str, Any]:
    return {"field": field, "title": title, "kind": kind, "about": about, "shown": shown, "width": width}
