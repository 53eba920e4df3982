"""Rule lists in words, by template. Token texts are data: shown, never interpreted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.ngrams import KINDS, LENGTH, N_AFTER

_MOST_SHOWN = 5  # rules, the heaviest
_NOTHING = "no n-gram of up to 4 tokens tells when it fires"
_SEEN = {"\n": "⏎", "\t": "⇥", "\r": "␍", "`": "\\u0060"}
_CLASSES = ("class", "after class")


def shown(token: int, texts: Sequence[str] | None) -> str:
    """One token between backticks, with what cannot be seen made visible; its number where its text is not known."""
    if texts is None or token >= len(texts):
        return f"token {token}"
    return "`" + "".join(_visible(letter) for letter in texts[token]) + "`"


def _visible(letter: str) -> str:
    if letter in _SEEN:
        return _SEEN[letter]
    return letter if letter == " " or letter.isprintable() else f"\\u{ord(letter):04x}"


def in_words(
    kind: NDArray[np.int64], fields: NDArray[np.int32], share: NDArray[np.float64], texts: Sequence[str] | None
) -> str:
    """“fires on ` knew`|` knows` (62 %); after ` who` (18 %)”: the heaviest rules; `share` [m] of the activation."""
    heaviest = np.argsort(-share, kind="stable")[:_MOST_SHOWN]
    if not len(heaviest):
        return _NOTHING
    parts = []
    for after in (False, True):
        mine = [i for i in heaviest.tolist() if (kind[i] < N_AFTER) == after]
        if mine:
            names = "|".join(_named(KINDS[kind[i]].name, fields[i], texts) for i in mine)
            parts.append((float(share[mine].sum()), f"{'after' if after else 'on'} {names}"))
    parts.sort(key=lambda part: -part[0])
    return "fires " + "; ".join(f"{words} ({percent(part)})" for part, words in parts)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"


def _named(kind: str, fields: NDArray[np.int32], texts: Sequence[str] | None) -> str:
    class0, token0, class1, token1, token2, token3 = fields.tolist()
    if kind in _CLASSES:
        return _class_named(class0 if kind == "class" else class1, texts)
    sequence = [token for token in (token3, token2, token1, token0) if token >= 0]
    if texts is None or max(sequence) >= len(texts):
        return " ".join(shown(token, texts) for token in sequence)
    assert len(sequence) <= LENGTH
    return "`" + "".join(shown(token, texts)[1:-1] for token in sequence) + "`"


def _class_named(token: int, texts: Sequence[str] | None) -> str:
    if texts is not None and token < len(texts) and texts[token].removeprefix(" ").isdecimal():
        return "a number"
    return f"{shown(token, texts)} (any case)"
