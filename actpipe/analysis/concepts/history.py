"""Family of repetition: what the text has had before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .concept import Bools, Concept, RowConcept
from .reading import Reading


def _row(name: str, text: str, label: Callable[[Reading], Bools], *parents: str) -> Concept:
    return RowConcept(name=f"history/{name}", text=text, label=label, parents=tuple(f"history/{p}" for p in parents))


def _repeated(n: int) -> Callable[[Reading], Bools]:
    """The last n tokens have stood in this text before, in this order. For n = 2 what an induction head completes."""

    def label(reading: Reading) -> Bools:
        key, whole = reading.gram(n)
        return whole & (reading.seen(np.where(whole, key, -1 - reading.index)) > 0)

    return label


def _same(back: int) -> Callable[[Reading], Bools]:
    def label(reading: Reading) -> Bools:
        tokens = reading.rows.tokens
        equal = np.zeros(len(tokens), np.bool_)
        equal[back:] = tokens[back:] == tokens[:-back]
        return equal & (reading.place >= back)

    return label


def _within_sentence(reading: Reading) -> Bools:
    return reading.seen(reading.rows.tokens, reading.sentence) > 0


HISTORY: tuple[Concept, ...] = (
    _row("word", "its word has stood before, in any case", lambda r: r.seen(r.spelling.word[r.rows.tokens]) > 0),
    _row("token", "the token has stood before", _repeated(1), "word"),
    _row("pair", "it and the one before it have stood before", _repeated(2), "token"),
    _row("triple", "the last three tokens have stood before", _repeated(3), "pair"),
    _row("often", "the token has stood five times before", lambda r: r.seen(r.rows.tokens) >= 5, "token"),
    _row("in sentence", "the token has stood in this sentence", _within_sentence, "token"),
    _row("same", "the token before is the same", _same(1), "token"),
    _row("alternates", "the token two before is the same", _same(2), "token"),
)
