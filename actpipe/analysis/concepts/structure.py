"""Family of what the place is enclosed in: quotes, brackets, tags, lines of a kind."""

from __future__ import annotations

from collections.abc import Callable

from .concept import Bools, Concept, RowConcept
from .reading import Reading

_REACH = 100  # tokens behind an opening bracket that nobody closes


def _row(name: str, text: str, label: Callable[[Reading], Bools], *parents: str) -> Concept:
    return RowConcept(name=f"structure/{name}", text=text, label=label, parents=parents)


def _quoted(reading: Reading) -> Bools:
    """From the mark that opens up to the one that closes, which does not count; a new line closes all."""
    return reading.odd('"', reading.line) | (reading.depth("“", "”", reading.line) > 0)


def _inside(opening: str, closing: str, deep: int = 1) -> Callable[[Reading], Bools]:
    def label(reading: Reading) -> Bools:
        opened = reading.last(reading.occurrences(opening) > 0)
        near = (opened >= 0) & (reading.index - opened <= _REACH)
        return near & (reading.depth(opening, closing, reading.rows.span_start) >= deep)

    return label


def _key(reading: Reading) -> Bools:
    """In quotes inside braces, where a comma or brace stood after the last colon."""
    colon, comma = (reading.last(reading.occurrences(marks) > 0) for marks in (":", "{,"))
    return _inside("{", "}")(reading) & _quoted(reading) & (comma >= colon)


def _value(reading: Reading) -> Bools:
    colon, comma = (reading.last(reading.occurrences(marks) > 0) for marks in (":", "{,"))
    return _inside("{", "}")(reading) & (colon > comma)


def _line_begins(*marks: str) -> Callable[[Reading], Bools]:
    return lambda reading: reading.opens_line(reading.begins_with(*marks))


STRUCTURE: tuple[Concept, ...] = (
    _row("quotes", "inside double quotation marks", _quoted),
    _row("parentheses", "inside ( )", _inside("(", ")")),
    _row("nested parentheses", "inside two ( or more", _inside("(", ")", 2), "structure/parentheses"),
    _row("square brackets", "inside [ ]", _inside("[", "]")),
    _row("braces", "inside { }", _inside("{", "}")),
    _row("key", "in a quoted key of { }", _key, "structure/braces", "structure/quotes"),
    _row("value", "in a value of { }", _value, "structure/braces"),
    _row("tag", "inside < >, on one line", lambda r: r.depth("<", ">", r.line) > 0),
    _row("backticks", "between backticks, on one line", lambda r: r.odd("`", r.line)),
    _row("mathematics", "between dollar signs, on one line", lambda r: r.odd("$", r.line)),
    _row("table", "on a line with two | before it", lambda r: r.running(r.occurrences("|"), r.line) >= 2),
    _row("list item", "on a line that begins with - * or •", _line_begins("-", "*", "•")),
    _row("heading", "on a line that begins with #", _line_begins("#")),
    _row("comment", "on a line that begins with # // or /*", _line_begins("#", "//", "/*")),
    _row("indented", "on a line that begins with two spaces or a tab", lambda r: r.token("space/indent")[r.line]),
    _row("question", "behind a wh-word that opens the sentence", lambda r: r.token("function/wh-word")[r.sentence]),
    _row(
        "behind colon", "behind a colon in the sentence", lambda r: r.last(r.token("punctuation/colon")) >= r.sentence
    ),
    _row("clause", "behind a comma in the sentence", lambda r: r.last(r.token("punctuation/comma")) >= r.sentence),
    _row("negated", "up to five tokens behind a negation", lambda r: r.within(r.token("function/negation"), 5)),
    _row(
        "name so far",
        "behind a capitalised token, capitalised too",
        lambda r: r.token("case/title") & r.previous(r.token("case/title")),
    ),
)
