"""What stands at each row and before it, and numbers for the patterns of tokens that a rule may ask for.

A pattern asks for up to six things, one a column of FIELDS, −1 where it asks for nothing:

    class0 token0   the row's own token x_t, or only its class
    class1 token1   the token before it, x_{t−1}, or only its class
    token2 token3   x_{t−2} and x_{t−3}

Nothing is asked across the border of a document, of a sequence, or of a run of rows that count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actpipe.store.hashing import Words, salt

from .compiled import compiled
from .rows import Rows

Fields = NDArray[np.int32]  # [n, 6]

FIELDS = ("class0", "token0", "class1", "token1", "token2", "token3")
LENGTH = 4  # tokens of the longest pattern
NOTHING = -1


@dataclass(frozen=True)
class Kind:
    """A shape of rule. `asks`: its columns of FIELDS; `after`: says nothing of the row's own token."""

    name: str
    asks: tuple[int, ...]
    after: bool = False


# What says nothing of the row's own token first; on each side a pattern can only contain patterns that stand after it.
KINDS = (
    Kind("after class", (2,), after=True),
    Kind("after token", (3,), after=True),
    Kind("after 2 tokens", (3, 4), after=True),
    Kind("class", (0,)),
    Kind("token", (1,)),
    Kind("2 tokens", (1, 3)),
    Kind("3 tokens", (1, 3, 4)),
    Kind("4 tokens", (1, 3, 4, 5)),
)
N_AFTER = sum(kind.after for kind in KINDS)  # they stand first
N_SEQUENCES = 3  # of two tokens and more, the row's own among them; they stand last


def preceding(rows: Rows, n: int = LENGTH + 1) -> NDArray[np.int32]:
    """[B, n]: x_t, x_{t−1}, …, x_{t−n+1}; −1 before the start of the row's span."""
    return rows.once(f"ngrams.preceding.{n}", lambda: _preceding(rows, n))


def _preceding(rows: Rows, n: int) -> NDArray[np.int32]:
    found = np.full((len(rows.tokens), n), NOTHING, dtype=np.int32)
    place = np.arange(len(rows.tokens))
    for back in range(n):
        inside = np.flatnonzero(place - back >= rows.span_start)
        found[inside, back] = rows.tokens[inside - back]
    return found


def fields(tokens: NDArray[np.int32], classes: NDArray[np.int32] | None) -> Fields:
    """[B, 6] from [B, ≥ 4] preceding tokens. Without classes every token is a class of its own."""
    x0, x1, x2, x3 = tokens[:, :LENGTH].T
    return np.stack([_class_of(x0, classes), x0, _class_of(x1, classes), x1, x2, x3], axis=1)


def _class_of(tokens: NDArray[np.int32], classes: NDArray[np.int32] | None) -> NDArray[np.int32]:
    return tokens if classes is None else np.where(tokens < 0, NOTHING, classes[tokens]).astype(np.int32)


def keys(of: Fields, asks: Sequence[int]) -> Words:
    """A 64-bit word for what each row says in these columns, 0 where one of them is empty.

    Among 10⁶ patterns and 10⁹ different contexts two meet by chance with probability 5·10⁻⁵.
    """
    found: Words = _keys(np.ascontiguousarray(of), np.array(asks, np.int64), salt(*asks))
    return found


@compiled
def _keys(of: Any, asks: Any, word: Any) -> Any:
    found = np.zeros(len(of), np.uint64)
    for i in range(len(of)):
        key, is_whole = word, True
        for column in asks:
            is_whole &= of[i, column] >= 0
            key = _mixed(key ^ np.uint64(of[i, column]))
        if is_whole:
            found[i] = key | np.uint64(1)
    return found


@compiled
def _mixed(word: Any) -> Any:
    """store.hashing.splitmix64 of one number."""
    word += np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def shape(of: Fields) -> NDArray[np.int64]:
    """[n] bit c set where the pattern asks for column c; a class beside its token says nothing more."""
    asked = of >= 0
    asked[:, 0] &= of[:, 1] < 0
    asked[:, 2] &= of[:, 3] < 0
    return np.asarray((asked.astype(np.int64) << np.arange(len(FIELDS))).sum(axis=1))


def asks_of(shape: int) -> tuple[int, ...]:
    return tuple(column for column in range(len(FIELDS)) if shape >> column & 1)


def token_classes(texts: Sequence[str], vocabulary: int) -> NDArray[np.int32]:
    """[vocabulary]: tokens that differ in case or a leading space only, and all numbers, share the smallest id."""
    smallest: dict[str, int] = {}
    classes = np.arange(vocabulary, dtype=np.int32)
    for token, text in enumerate(texts[:vocabulary]):
        stem = text.removeprefix(" ").casefold()
        if stem.strip():
            classes[token] = smallest.setdefault("0" if stem.isdecimal() else stem, token)
    return classes
