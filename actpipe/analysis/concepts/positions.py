"""Family of places: in the text, the line and the sentence."""

from __future__ import annotations

from collections.abc import Callable

from .concept import Bools, Concept, RowConcept
from .reading import Reading


def _row(name: str, text: str, label: Callable[[Reading], Bools], *parents: str) -> Concept:
    return RowConcept(name=name, text=text, label=label, parents=parents)


POSITION: tuple[Concept, ...] = (
    _row("position/first 10", "among the first 10 tokens of the text", lambda r: r.place < 10),
    _row("position/first", "the first token of the text", lambda r: r.place == 0, "position/first 10"),
    _row("position/second", "the second token of the text", lambda r: r.place == 1, "position/first 10"),
    _row("position/beyond 64", "behind 64 tokens of the text", lambda r: r.place >= 64),
    _row("position/beyond 128", "behind 128 tokens", lambda r: r.place >= 128, "position/beyond 64"),
    _row(
        "position/sentence first",
        "the first token of a sentence",
        lambda r: r.index == r.sentence,
        "position/sentence early",
    ),
    _row("position/sentence early", "among the first three of a sentence", lambda r: r.index - r.sentence < 3),
    _row("position/sentence late", "behind 20 tokens of the sentence", lambda r: r.index - r.sentence >= 20),
    _row("position/line first", "the first token of a line", lambda r: r.index == r.line),
    _row(
        "position/paragraph first",
        "behind a blank line",
        lambda r: r.previous(r.token("space/blank line")),
        "position/line first",
    ),
)
