"""What everybody who has read some words knows: the state of the syntax, the facts stated, where sentences began.

Vectorised over documents: every array is [B] or [B, …]. The generator advances it by the words it draws and the filter
by the words it is given, so both have one grammar.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .grammar import DEEPEST, MODES, grammar
from .language import SOURCES, Language
from .vocabulary import N_NAMES, N_NAMES_OF_TYPE, N_VALUES_OF_TYPE, Class, entity_type, vocabulary

Ints = NDArray[np.int64]


class Reading:
    def __init__(self, n: int, language: Language) -> None:
        self.language, self.grammar, self.vocabulary = language, grammar(), vocabulary()
        self.types = entity_type(np.arange(len(self.vocabulary.words)))
        self.position = 0
        self.control = np.full(n, self.grammar.start[0])  # state of the grammar
        self.depth = np.zeros(n, np.int64)  # brackets open
        self.resume = np.full((n, DEEPEST + 1), -1)  # by depth: the state after the bracket closes; [0] is never used
        self.square = np.zeros((n, DEEPEST + 1), np.int64)  # by depth: 1 for a square bracket
        self.value_of = np.full((n, N_NAMES), -1)  # the word that was stated of a name
        self.place_of = np.full((n, N_NAMES), -1)  # the how manyeth fact it was
        self.stated = np.full((n, language.facts), -1)  # names in the order of their facts
        self.n_stated = np.zeros(n, np.int64)
        self.name = np.full(n, -1)  # last name read
        self.begins = np.full((n, SOURCES + 1), -1)  # where this sentence begins, and the last four before it
        self.begins[:, 0] = 0
        self.all = np.arange(n)

    @property
    def at_start(self) -> NDArray[np.bool_]:
        """Whether the next word begins a sentence."""
        starts: NDArray[np.bool_] = self.begins[:, 0] == self.position
        return starts

    @property
    def n_sources(self) -> Ints:
        """Sentences that the next may repeat."""
        n: Ints = (self.begins[:, 1:] >= 0).sum(1)
        return n

    @property
    def innermost(self) -> Ints:
        """0 for no bracket, 1 for a round and 2 for a square one."""
        return np.where(self.depth > 0, 1 + self.square[self.all, self.depth], 0)

    @property
    def resumed(self) -> Ints:
        """State in which the clause around the innermost bracket waits, −1 without one."""
        return np.where(self.depth > 0, self.resume[self.all, self.depth], -1)

    @property
    def situation(self) -> Ints:
        situation: Ints = self.control * MODES + self.innermost + 2 * (self.depth == DEEPEST)
        return situation

    def memory(self, words: Ints) -> NDArray[np.float64]:
        """[B, W] words → the factor of their probability that hangs on the facts stated; 1 for words that do not."""
        known, state = self.vocabulary, self.grammar.state
        kind, control = known.class_of[words], self.control[:, None]
        offset = np.where(kind == Class.NAME, words - known.first[Class.NAME], 0)
        is_stated = np.take_along_axis(self.place_of, offset, 1) >= 0
        n_stated = self.n_stated[:, None]
        same_type = self.types[words] == np.where(self.name >= 0, self.name // N_NAMES_OF_TYPE, -1)[:, None]
        recalled = self.value_of[self.all, self.name][:, None] == words
        name = np.where(
            control == state("query word"),
            is_stated / np.maximum(n_stated, 1),
            ~is_stated / (N_NAMES - n_stated),
        )
        value = np.where(control == state("query mark"), recalled, same_type / N_VALUES_OF_TYPE)
        return np.select(
            [kind == Class.NAME, kind == Class.VALUE, kind == Class.FACT_VERB], [name, value, same_type], 1.0
        )

    def advance(self, words: Ints) -> None:
        """Read one more word of every document."""
        kind = self.vocabulary.class_of[words]
        state = self.grammar.state
        self._facts(words, kind, stated=self.control == state("stated verb"))
        following = self.grammar.following[self.control, kind]
        opens, closes = (kind == Class.OPEN_ROUND) | (kind == Class.OPEN_SQUARE), self._closes(kind)
        resumed = self.resumed
        self.depth = self.depth + opens
        here = opens.nonzero()[0]
        self.resume[here, self.depth[here]] = self.grammar.after_bracket[self.control[here]]
        self.square[here, self.depth[here]] = kind[here] == Class.OPEN_SQUARE
        self.depth = self.depth - closes
        following = np.where(opens, self.grammar.clause, np.where(closes, resumed, following))
        stops = kind == Class.STOP
        if stops.any():
            facts = np.where(self.n_stated == 0, 0, np.where(self.n_stated < self.language.facts, 1, 2))
            following = np.where(stops, self.grammar.start[facts], following)
            self.begins[stops, 1:] = self.begins[stops, :-1]
            self.begins[stops, 0] = self.position + 1
        if (following < 0).any():
            wrong = words[(following < 0).argmax()]
            raise Misuse(
                f"Word {self.position} of a document, {self.vocabulary.words[wrong]!r}, cannot stand there in its "
                "FactorLang. Give documents that actpipe.factorlang.documents made."
            )
        self.control = following
        self.position += 1

    def _closes(self, kind: Ints) -> NDArray[np.bool_]:
        wanted = np.where(self.square[self.all, self.depth] == 1, Class.CLOSE_SQUARE, Class.CLOSE_ROUND)
        closes: NDArray[np.bool_] = (kind == wanted) & (self.depth > 0)
        return closes

    def _facts(self, words: Ints, kind: Ints, *, stated: NDArray[np.bool_]) -> None:
        self.name = np.where(kind == Class.NAME, words - self.vocabulary.first[Class.NAME], self.name)
        new = (stated & (kind == Class.VALUE)).nonzero()[0]
        new = new[self.value_of[new, self.name[new]] < 0]  # a copied sentence states nothing
        name, place = self.name[new], self.n_stated[new]
        self.value_of[new, name] = words[new]
        self.place_of[new, name] = place
        self.stated[new, place] = name
        self.n_stated[new] += 1
