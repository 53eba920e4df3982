"""The labels of all concepts for a block of rows.

Concepts of tokens and words are a table [V, concepts], made once a vocabulary; a block looks its tokens up. What is
left is done with arrays of the block: words of several tokens, and concepts of the text around.
Memory: a byte a row and concept for the block at hand, and for the vocabulary (13 MB for 49,152 tokens).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.rows import Rows

from . import CONCEPTS
from .concept import Bools, Concept, Lexicon, RowConcept, TokenConcept, WordConcept
from .factors import factor_concepts
from .reading import Reading
from .spelling import Spelling

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_KEPT = 1 << 28  # bytes of labels kept between passes: five million rows
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
        self._packed: dict[tuple[int, bytes], NDArray[np.uint8]] = {}  # labels of blocks, eight to the byte
        self._bytes = 0

    def labels(self, rows: Rows) -> Bools:
        """[rows, concepts], false at rows that do not count. Passes over the same text find them made."""
        return rows.once("concepts", lambda: self._found(rows))

    def matrix(self, rows: Rows) -> csr_matrix:
        """The same, [concepts, rows] int32."""
        return rows.once("concepts by row", lambda: _by_concept(self.labels(rows)))

    def _found(self, rows: Rows) -> Bools:
        key = hashlib.blake2b(rows.tokens.tobytes() + rows.span_start.tobytes(), digest_size=16).digest()
        packed = self._packed.get((rows.first, key))
        if packed is None:
            labels = self._labels(rows)
            packed = np.packbits(labels, axis=1)
            if self._bytes + packed.nbytes <= _KEPT:
                self._bytes += packed.nbytes
                self._packed[rows.first, key] = packed
            return labels
        return np.unpackbits(packed, axis=1, count=len(self.concepts)).view(np.bool_)

    def _labels(self, rows: Rows) -> Bools:
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
            if so_far not in self._words:
                self._words[so_far] = self._word(so_far)
            labels.append(self._words[so_far])
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


def _by_concept(labels: Bools) -> csr_matrix:
    from scipy.sparse import csr_matrix

    row, concept = np.divmod(np.flatnonzero(labels), labels.shape[1])
    starts = np.searchsorted(row, np.arange(len(labels) + 1))
    ones = np.ones(len(row), np.int32)
    return csr_matrix((ones, concept.astype(np.int32), starts), shape=labels.shape).T.tocsr()


_BANKS: WeakKeyDictionary[Corpus, Bank] = WeakKeyDictionary()


def bank_of(corpus: Corpus) -> Bank | None:
    """The bank of a corpus, made once; None where the texts of its tokens are not known."""
    if corpus.texts is None:
        return None
    if corpus not in _BANKS:
        _BANKS[corpus] = Bank(corpus.texts, (*CONCEPTS, *factor_concepts(corpus.store)))
    return _BANKS[corpus]
