"""FactorLang told a second time, slowly: a recursive descent through the grammar, and sums over everything hidden.

Only the word lists and the rates are the package's; rules, forms of probabilities and sums are written anew.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import numpy as np

from actpipe.factorlang import Language, grammar
from actpipe.factorlang.vocabulary import Class, vocabulary

OPEN = {Class.NOUN_SINGULAR, Class.NOUN_PLURAL, Class.VERB_SINGULAR, Class.VERB_PLURAL, Class.ADJECTIVE}
NUMBER = {Class.NOUN_SINGULAR: "s", Class.NOUN_PLURAL: "p"}
VERB = {"s": Class.VERB_SINGULAR, "p": Class.VERB_PLURAL}
COPULA = {"s": Class.COPULA_SINGULAR, "p": Class.COPULA_PLURAL}
DETERMINERS = {Class.DETERMINER: 0.6, Class.QUANTIFIER_SINGULAR: 0.2, Class.QUANTIFIER_PLURAL: 0.2}


class Cut(Exception):
    """The document ends in the middle of a sentence."""


class Sentence:
    """The probability of a new sentence, word by word, given all that is hidden."""

    def __init__(self, words: list[int], spec: Language, hidden: tuple[int, int, int], topics: tuple[int, ...],
                 facts: dict[int, int]) -> None:  # fmt: skip
        self.words, self.spec, self.topics, self.facts = words, spec, topics, facts
        self.style, self.language, self.speaker = hidden
        self.at, self.p = 0, 1.0

    def probability(self) -> float:
        with contextlib.suppress(Cut):
            self.sentence()
        return self.p

    def choose(self, options: dict[Any, float]) -> Any:
        """The class of the next word, with its share of the weights and the probability of the word in the class."""
        if self.at == len(self.words):
            raise Cut
        word = self.words[self.at]
        kind = Class(int(vocabulary().class_of[word]))
        if kind not in options:
            self.p = 0.0
            raise Cut
        self.p *= options[kind] / sum(options.values()) * self.emission(word, kind)
        self.at += 1
        return kind

    def emission(self, word: int, kind: Class) -> float:
        known = vocabulary()
        if kind in (Class.NAME, Class.VALUE, Class.FACT_VERB):
            return float(kind != Class.FACT_VERB or known.language_of[word] == self.language)
        if known.language_of[word] < 0:
            return 1.0
        listed = [w for w in known.candidates[kind, self.language, self.topics[self.at]].tolist() if w >= 0]
        n = len(listed)
        weights = [1.0] * n
        if kind in OPEN or kind == Class.PREPOSITION:
            turn = self.speaker if kind in (Class.VERB_SINGULAR, Class.VERB_PLURAL, Class.PREPOSITION) else 0
            weights = [1 / (1 + (i + turn) % n) for i in range(n)]
        own = {Class.OPENER: [self.speaker], Class.DETERMINER: [self.style],
               Class.ADVERB: [2 * self.style, 2 * self.style + 1]}.get(kind)  # fmt: skip
        if own:
            weights = [0.65 / len(own) if i in own else 0.35 / (n - len(own)) for i in range(n)]
        p = sum(w for w, each in zip(weights, listed, strict=True) if each == word) / sum(weights)
        if kind in OPEN:
            size = int((known.class_of == kind).sum())
            p = (1 - self.spec.noise) * p + self.spec.noise / size
        return p

    def rate(self, rates: np.ndarray) -> float:
        return float(rates[self.style])

    def sentence(self) -> None:
        options = {kind: 0.65 * share for kind, share in DETERMINERS.items()}
        options[Class.OPENER] = self.rate(grammar.OPENER)
        if len(self.facts) < self.spec.facts:
            options[Class.NAME] = grammar.STATEMENT
        if self.facts:
            options[Class.QUERY_WORD] = self.rate(grammar.QUERY)
        kind = self.choose(options)
        if kind == Class.NAME:
            return self.statement()
        if kind == Class.QUERY_WORD:
            return self.query()
        if kind == Class.OPENER:
            self.choose({Class.COMMA: 1})
            kind = self.choose(DETERMINERS)
        return self.clauses(kind)

    def statement(self) -> None:
        first = int(vocabulary().first[Class.NAME])
        name = self.words[self.at - 1] - first
        self.p *= 0.0 if name in self.facts else 1 / (64 - len(self.facts))
        self.choose({Class.FACT_VERB: 1})
        verb = self.words[self.at - 1] - int(vocabulary().first[Class.FACT_VERB])
        self.p *= float(verb % 4 == name // 16)
        self.choose({Class.VALUE: 1})
        value = self.words[self.at - 1] - int(vocabulary().first[Class.VALUE])
        self.p *= (value // 14 == name // 16) / 14
        self.choose({Class.STOP: 1})

    def query(self) -> None:
        self.choose({Class.NAME: 1})
        name = self.words[self.at - 1] - int(vocabulary().first[Class.NAME])
        self.p *= (name in self.facts) / len(self.facts)
        self.choose({Class.QUESTION: 1})
        self.choose({Class.VALUE: 1})
        self.p *= float(self.facts.get(name) == self.words[self.at - 1])
        self.choose({Class.STOP: 1})

    def clauses(self, kind: Any) -> None:
        """From a determiner on, to the stop."""
        conjunction = self.rate(grammar.CONJUNCTION)
        while self.clause(kind, {Class.STOP: 1 - conjunction, Class.CONJUNCTION: conjunction}, 0) != Class.STOP:
            kind = self.choose(DETERMINERS)

    def clause(self, kind: Any, end: dict[Any, float], depth: int) -> Any:
        """A clause whose determiner has been read; the class that ended it."""
        number = self.noun(kind)
        between = dict(self.brackets(depth)) | {Class.PREPOSITION: 0.2}
        kind = self.choose(between | {VERB[number]: 0.7, COPULA[number]: 0.3})
        if kind == Class.PREPOSITION:
            self.noun(self.choose(DETERMINERS))
        elif kind in between:
            self.inside(kind, depth)
        if kind in between:
            kind = self.choose({VERB[number]: 0.7, COPULA[number]: 0.3})
        behind = {k: 0.8 * share for k, share in end.items()}
        if kind in COPULA.values():
            kind = self.choose({Class.ADVERB: self.rate(grammar.ADVERB), Class.ADJECTIVE: 1.0})
            if kind == Class.ADVERB:
                self.choose({Class.ADJECTIVE: 1})
            kind = self.choose(behind | {Class.PREPOSITION: 0.2})
        else:
            kind = self.object(end, behind, depth)
        if kind != Class.PREPOSITION:
            return kind
        self.noun(self.choose(DETERMINERS))
        return self.choose(end)

    def object(self, end: dict[Any, float], behind: dict[Any, float], depth: int) -> Any:
        objects = {k: 0.7 * share for k, share in DETERMINERS.items()}
        ends = {k: 0.3 * share for k, share in end.items()}
        kind = self.choose(objects | ends | {Class.ADVERB: self.rate(grammar.ADVERB)})
        if kind == Class.ADVERB:
            kind = self.choose({k: 0.5 * s for k, s in DETERMINERS.items()} | {k: 0.5 * s for k, s in end.items()})
        if kind in end:
            return kind
        self.noun(kind)
        brackets = self.brackets(depth)
        kind = self.choose(brackets | behind | {Class.PREPOSITION: 0.2})
        if kind in brackets:
            self.inside(kind, depth)
            kind = self.choose(behind | {Class.PREPOSITION: 0.2})
        return kind

    def brackets(self, depth: int) -> dict[Any, float]:
        rate = self.rate(grammar.BRACKET)
        return {} if depth == 4 else {Class.OPEN_ROUND: rate / 2, Class.OPEN_SQUARE: rate / 2}

    def inside(self, bracket: Any, depth: int) -> None:
        close = Class.CLOSE_ROUND if bracket == Class.OPEN_ROUND else Class.CLOSE_SQUARE
        self.clause(self.choose(DETERMINERS), {close: 1.0}, depth + 1)

    def noun(self, determiner: Any) -> str:
        rate = self.rate(grammar.ADJECTIVE)
        options = {Class.ADJECTIVE: rate}
        if determiner != Class.QUANTIFIER_PLURAL:
            options[Class.NOUN_SINGULAR] = 1 - rate
        if determiner != Class.QUANTIFIER_SINGULAR:
            options[Class.NOUN_PLURAL] = 1 - rate
        if len(options) == 3:
            options |= {Class.NOUN_SINGULAR: (1 - rate) / 2, Class.NOUN_PLURAL: (1 - rate) / 2}
        while (kind := self.choose(options)) == Class.ADJECTIVE:
            pass
        return NUMBER[kind]


def probability(words: list[int], spec: Language) -> float:
    """P(words), the sum over language, style, speaker, every path of the topic, and every way to copy."""
    bounds = [0, *(i + 1 for i, word in enumerate(words) if vocabulary().class_of[word] == Class.STOP)]
    if bounds[-1] != len(words):
        bounds.append(len(words))
    sentences = [words[a:b] for a, b in itertools.pairwise(bounds)]
    known = facts_before(sentences)
    terms = []
    for hidden in itertools.product(range(spec.styles), range(spec.languages), range(spec.speakers)):
        for topics in itertools.product(range(spec.topics), repeat=len(words)):
            p = 1 / math.prod(spec.hidden)
            for before, after in itertools.pairwise(topics):
                p *= 1 - spec.switch if before == after else spec.switch / (spec.topics - 1)
            for i, sentence in enumerate(sentences):
                sources = sentences[max(0, i - 4) : i]
                copy = spec.copy if sources else 0.0
                inside = topics[bounds[i] : bounds[i + 1]]
                new = Sentence(sentence, spec, hidden, inside, known[i]).probability()
                copied = sum(source[: len(sentence)] == sentence for source in sources)
                p *= (1 - copy) * new + (copy / len(sources) * copied if sources else 0.0)
                if p == 0:
                    break
            terms.append(p)
    return math.fsum(terms)


def facts_before(sentences: list[list[int]]) -> list[dict[int, int]]:
    """name → value as known at the start of each sentence."""
    facts: dict[int, int] = {}
    known = []
    for sentence in sentences:
        known.append(dict(facts))
        if len(sentence) == 4 and vocabulary().class_of[sentence[0]] == Class.NAME:
            facts[sentence[0] - int(vocabulary().first[Class.NAME])] = sentence[2]
    return known
