"""The labels of all concepts for a block of rows.

Concepts of tokens and words are a table [V, concepts], made once a vocabulary; a block looks its tokens up. What is
left is done with arrays of the block: words of several tokens, and concepts of the text around.
Memory: a byte a row and concept for the block at hand, and for the vocabulary (13 MB for 49,152 tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.rows import Rows

from . import CONCEPTS
from .concept import Bools, Concept, Lexicon, RowConcept, TokenConcept, WordConcept
from .reading import Reading
from .spelling import Spelling

_REMEMBERED = 200_000  # spellings of words in several tokens


class Bank:
    def __init__(self, texts: Sequence[str], concepts: Sequence[Concept] = CONCEPTS) -> None:
        self.concepts = tuple(concepts)
        self.names = [concept.name for concept in self.concepts]
        self._place = {name: i for i, name in enumerate(self.names)}
        self._spelling = Spelling.of(texts)
        self._of_word = [i for i, c in enumerate(self.concepts) if isinstance(c, WordConcept | Lexicon)]
        self._word_tests = [(i, c.test) for i, c in enumerate(self.concepts) if isinstance(c, WordConcept)]
        self._lists: dict[str, list[int]] = {}
        for i, concept in enumerate(self.concepts):
            for word in concept.words if isinstance(concept, Lexicon) else ():
                self._lists.setdefault(word, []).append(i)
        self._words: dict[str, Bools] = {}  # labels of words in several tokens, [word concepts]
        self.table = self._table()

    def labels(self, rows: Rows) -> Bools:
        """[rows, concepts], false at rows that do not count. The same in any block of whole sequences."""
        found = self.table[rows.tokens]
        self._long_words(rows, found)
        reading = Reading(rows, self._spelling, lambda name: found[:, self._place[name]])
        for i, concept in enumerate(self.concepts):
            if isinstance(concept, RowConcept):
                found[:, i] = concept.label(reading)
        found[~rows.counted] = False
        return found

    def _table(self) -> Bools:
        spelling = self._spelling
        found = np.zeros((len(spelling.texts), len(self.concepts)), np.bool_)
        for i, concept in enumerate(self.concepts):
            if isinstance(concept, TokenConcept):
                found[:, i] = [concept.test(text) for text in spelling.texts]
        known: dict[str, Bools] = {}
        for token, word in enumerate(spelling.letters):
            if word not in known:
                known[word] = self._word(word)
            found[token, self._of_word] = known[word]
        return found

    def _word(self, word: str) -> Bools:
        """Labels of the word concepts, [word concepts]."""
        found = np.zeros(len(self.concepts), np.bool_)
        found[self._lists.get(word, [])] = True
        for i, test in self._word_tests:
            found[i] = test(word)
        return found[self._of_word]

    def _long_words(self, rows: Rows, found: Bools) -> None:
        """Where a word goes on in another token, the word so far decides, not the token."""
        spelling, tokens = self._spelling, rows.tokens
        on = spelling.begins_with_letter[tokens] & ~spelling.must_begin[tokens]
        on[1:] &= spelling.ends_with_letter[tokens[:-1]] & (rows.span_start[1:] == rows.span_start[:-1])
        on[:1] = False
        if len(self._words) > _REMEMBERED:
            self._words.clear()
        so_far, labels, last = "", [], -2
        where = np.flatnonzero(on)
        for row, before, token in zip(where.tolist(), tokens[where - 1].tolist(), tokens[where].tolist(), strict=True):
            so_far = (so_far if last == row - 1 else spelling.letters[before]) + spelling.letters[token]
            last = row
            known = self._words.get(so_far)
            if known is None:
                known = self._words[so_far] = self._word(so_far)
            labels.append(known)
        if labels:
            found[where[:, None], self._of_word] = np.stack(labels)

    @cached_property
    def related(self) -> Bools:
        """[concepts, concepts]: the same, or one contains the other by what they declare."""
        parents = {concept.name: concept.parents for concept in self.concepts}

        def above(name: str) -> set[str]:
            return {name}.union(*(above(parent) for parent in parents.get(name, ())))

        found = np.zeros((len(self.names), len(self.names)), np.bool_)
        for i, name in enumerate(self.names):
            for other in above(name):
                if other in self._place:
                    found[i, self._place[other]] = found[self._place[other], i] = True
        return found

    @cached_property
    def families(self) -> tuple[list[str], NDArray[np.int64]]:
        """Their names, and the number of each concept's family."""
        names = list(dict.fromkeys(concept.family for concept in self.concepts))
        return names, np.array([names.index(concept.family) for concept in self.concepts], np.int64)
