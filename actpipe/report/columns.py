"""The table of all units: which columns there are, what heads them, how the page writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .member_units import RULES, MemberUnits
from .naming import name_members
from .payload import Vocabulary, numbers, visible
from .windows import rows_of

BEFORE, AFTER = 9, 5  # tokens around the peak of the strongest context
TOP_TOKENS = 3
NUMBER = "feature"  # of the unit
MARK = "mark"  # the reader's, kept by the browser
_WORDS = ("text", "context")  # kinds; the others are numbers
_IN_EVERY_CSV = ("rules_low", "rules_high", MARK)  # others where they are shown
_AT_1 = "F1, at a prevalence of 1 %,"

Values = Sequence[Any] | NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    field: str
    title: str
    kind: str  # how table.js writes, sorts and filters it: number, share, unit, interval, text, context
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
    return [visible(first.get(number, "")).removeprefix("fires on ") or None for number in units.columns["feature"]]


def _label(units: MemberUnits) -> Values:
    return [name_members(units.tables.members)[units.index].label] * units.n


def _top_tokens(units: MemberUnits) -> Values:
    quoted = Vocabulary(units.tables.vocabulary).quoted
    return ["|".join(map(quoted, (tokens or [])[:TOP_TOKENS])) or None for tokens in units.columns["top_tokens"]]


def _concept(units: MemberUnits) -> Values:
    return [
        units.concepts[number][0]["concept"] if number in units.concepts else None
        for number in units.columns["feature"]
    ]


def _strongest(units: MemberUnits) -> Values:
    """[text before, the peak, text after] in the strongest window of each unit."""
    text = Vocabulary(units.tables.vocabulary).text
    around: list[list[str] | None] = [None] * units.n
    for row in rows_of(units.rows("examples", ["feature", "sign", "tokens", "peak"], rank=[0])):
        tokens, peak = row["tokens"], row["peak"]
        before = "".join(map(text, tokens[max(0, peak - BEFORE) : peak]))
        after = "".join(map(text, tokens[peak + 1 : peak + 1 + AFTER]))
        word = text(tokens[peak])
        if len(word) > 1 and word[0] == " ":  # heat on the space would join words
            before, word = before + " ", word[1:]
        around[units.places[row["feature"]]] = [before, word, after]
    return around


_DETECTION = _judged("balanced_accuracy", "detection")
_DISCRIMINATION = _judged("accuracy", "discrimination")
_MORE = False  # shown where a reader asks for it
COLUMNS = (
    Column(NUMBER, "Unit", "integer", "its number", _activity("feature"), width=70),
    Column("arm", "Dictionary", "text", "of which it is a unit", _label, width=120),
    Column("hook", "Hook", "text", "where it is read", lambda units: [units.member["hook"]] * units.n, width=150),
    Column(MARK, "Mark", "text", "★ where you marked it", lambda units: [None] * units.n, _MORE, width=60),
    Column("strongest", "Strongest context", "context", "around its largest activation", _strongest, width=250),
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
    Column("top", "Top tokens", "text", "with most of its activation", _top_tokens, _MORE, width=180),
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
        self.values: dict[str, list[Any]] = {field: [] for field in ("member", *(column.field for column in COLUMNS))}

    def add(self, units: MemberUnits) -> None:
        self.values["member"] += [units.index] * units.n
        for column in COLUMNS:
            found = column.of(units)
            is_measured = isinstance(found, np.ndarray) or column.kind in ("number", "share", "unit", "integer")
            self.values[column.field] += numbers(found) if is_measured else list(found)

    def described(self) -> list[dict[str, Any]]:
        """The columns that hold anything, and that of marks, as Tabulator wants them; `cssClass` is the kind."""
        held = {field for field, values in self.values.items() if any(value is not None for value in values)}
        hooks = len(set(self.values["hook"]))
        return [
            _described(column) | ({"visible": hooks > 1} if column.field == "hook" else {})
            for column in COLUMNS
            if column.field in held or column.field == MARK
        ]


def _described(column: Column) -> dict[str, Any]:
    side, first, filtered = ("left", "asc", "text") if column.kind in _WORDS else ("right", "desc", "a..b")
    return {
        "field": column.field,
        "cssClass": column.kind,
        "title": column.title,
        "headerTooltip": column.about,
        "visible": column.shown,
        "width": column.width,
        "hozAlign": side,
        "headerHozAlign": side,
        "headerSortStartingDir": "asc" if column.field == NUMBER else first,
        "headerFilterPlaceholder": filtered,
        "frozen": column.field == NUMBER,
        "titleDownload": column.field,
        **({"download": True} if column.field in _IN_EVERY_CSV else {}),
    }
