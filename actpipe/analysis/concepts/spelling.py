"""How the tokens of a vocabulary spell words: which begin one, and what letters each adds.

Three conventions: a space in front begins a word (byte-level BPE, SentencePiece); `##` in front continues one
(WordPiece); neither occurs, and every token is a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """All arrays are [V]."""

    texts: Sequence[str]
    letters: Sequence[str]  # lower case, without spaces and marks of the convention
    begins_with_letter: Bools
    ends_with_letter: Bools
    must_begin: Bools  # a word never goes on in this token, whatever stands before it
    word: NDArray[np.int64]  # number of `letters`: equal for ` The` and `the`
    _counts: dict[str, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    _begins: dict[tuple[str, ...], Bools] = field(default_factory=dict, repr=False)

    def counts(self, marks: str) -> NDArray[np.int64]:
        """How many of these characters each token has."""
        if marks not in self._counts:
            found = [sum(text.count(mark) for mark in marks) for text in self.texts]
            self._counts[marks] = np.array(found, np.int64)
        return self._counts[marks]

    def begins_with(self, marks: tuple[str, ...]) -> Bools:
        if marks not in self._begins:
            self._begins[marks] = np.array([text.strip().startswith(marks) for text in self.texts], np.bool_)
        return self._begins[marks]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Spelling:
        spaced = any(text.startswith(" ") and len(text) > 1 for text in texts)
        pieces = not spaced and any(text.startswith("##") and len(text) > 2 for text in texts)
        bare = [text[2:] if pieces and text.startswith("##") and len(text) > 2 else text for text in texts]
        letters = [text.strip().lower() for text in bare]
        if spaced:
            must_begin = [not text[:1].isalpha() for text in texts]
        elif pieces:
            must_begin = [not text.startswith("##") for text in texts]
        else:
            must_begin = [True] * len(texts)
        return cls(
            texts=texts,
            letters=letters,
            begins_with_letter=np.array([text[:1].isalpha() for text in bare], np.bool_),
            ends_with_letter=np.array([text[-1:].isalpha() for text in bare], np.bool_),
            must_begin=np.array(must_begin, np.bool_),
            word=np.unique(np.array(letters), return_inverse=True)[1].astype(np.int64),
        )
