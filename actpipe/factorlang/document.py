"""A document with everything that was hidden when it was made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .language import Language
from .vocabulary import vocabulary

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """[words] each: what was so when a word was drawn, or (after) once it had been read."""

    topic: Ints
    noise: NDArray[np.bool_]
    source: Ints  # 0, or how many sentences back the sentence that is being copied began
    before: Ints  # state of the grammar
    after: Ints
    depth: Ints  # brackets open, those that this word opens or closes included
    innermost: Ints  # of them: 0 none, 1 round, 2 square
    resumed: Ints  # state in which the clause around the innermost waits, −1
    fact: Ints  # a name or a value: the how manyeth fact of the document it belongs to; else −1
    n_stated: Ints  # facts stated so far
    place: Ints  # of the word in its sentence


@dataclass(frozen=True, kw_only=True, eq=False)
class Document:
    number: int
    seed: int
    spec: Language
    words: Ints  # [words], numbers of `vocabulary().words`, which are the token ids of `word_tokenizer`
    language: int
    style: int
    speaker: int
    trace: Trace

    @cached_property
    def text(self) -> str:
        """The words with a space between any two, punctuation too."""
        spelled = vocabulary().words
        return " ".join([spelled[word] for word in self.words.tolist()])

    @cached_property
    def spans(self) -> Ints:
        """[words, 2]: where each word begins and ends in the text."""
        spelled = vocabulary().words
        length = np.array([len(spelled[word]) for word in self.words.tolist()], np.int64)
        end = np.cumsum(length + 1) - 1
        return np.stack([end - length, end], 1)
