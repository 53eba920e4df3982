"""Number agreement in FactorLang: a subject whose verb stands across a bracket or a phrase of a place.

    each exam near many classrooms | teaches …        each exam → many exams: | teach …

The counterfactual has the subject (and its quantifier, if it has one) in the other number, nothing else. Right answers
are all verbs and copulas of the subject's number; the last word of a prompt says nothing of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actpipe.factorlang import Document, documents
from actpipe.factorlang.grammar import NUMBERS, grammar
from actpipe.factorlang.vocabulary import Class, vocabulary

from .pairs import Pairs, padded

LONGEST = 63  # words of a prompt
_TRIED = 3  # documents made for each pair: not every one has such a clause among its first words
_OTHER = {
    Class.NOUN_SINGULAR: Class.NOUN_PLURAL,
    Class.NOUN_PLURAL: Class.NOUN_SINGULAR,
    Class.QUANTIFIER_SINGULAR: Class.QUANTIFIER_PLURAL,
    Class.QUANTIFIER_PLURAL: Class.QUANTIFIER_SINGULAR,
}
_VERBS = {
    "singular": (Class.VERB_SINGULAR, Class.COPULA_SINGULAR),
    "plural": (Class.VERB_PLURAL, Class.COPULA_PLURAL),
}

Ints = NDArray[np.int64]


def agreement_pairs(n: int, *, start: int, seed: int = 0, opening: int | None = 0) -> Pairs:
    """One pair from each of `n` documents of FactorLang from number `start` on; tokens of `word_tokenizer`.

    `opening`: the token that stands before a document's first word.
    """
    prompts: list[tuple[list[int], list[int]]] = []
    answers: list[tuple[list[int], list[int]]] = []
    before = [] if opening is None else [opening]
    for document in documents(seed, start, start + _TRIED * n):
        found = _pair(document)
        if found is None:
            continue
        words, other, which = found
        prompts.append((before + words, before + other))
        answers.append((_verbs(which), _verbs(NUMBERS[1 - NUMBERS.index(which)])))
        if len(prompts) == n:
            break
    return padded("agreement", prompts, answers, vocabulary=len(vocabulary().words))


def _pair(document: Document) -> tuple[list[int], list[int], str] | None:
    """The last prompt of at most LONGEST words, its counterfactual, and the number of the subject."""
    names, trace = grammar().states, document.trace
    for last in range(min(LONGEST, len(document.words)) - 1, 0, -1):
        state = names[trace.after[last]].split()
        if state[:2] not in (["between", "done"], ["subject", "closed"]):
            continue
        subject = _subject(document, last, state[2])
        if subject is not None:
            words = document.words[: last + 1].tolist()
            other = words.copy()
            for place in _numbered(document.words, subject):
                other[place] = _turned(words[place])
            return words, other, state[2]
    return None


def _subject(document: Document, last: int, number: str) -> int | None:
    """The place of the noun that the clause at `last` is about."""
    names, trace = grammar().states, document.trace
    kind = vocabulary().class_of[document.words]
    depth = int(trace.depth[last]) - (kind[last] in (Class.CLOSE_ROUND, Class.CLOSE_SQUARE))
    for place in range(last - 1, -1, -1):
        if trace.depth[place] < depth or kind[place] in (Class.STOP, Class.QUESTION):
            return None
        if trace.depth[place] == depth and names[trace.after[place]] == f"subject done {number}":
            return place
    return None


def _numbered(words: Ints, subject: int) -> list[int]:
    """Places of the subject and of its quantifier."""
    kind = vocabulary().class_of[words]
    first = subject - 1
    while first > 0 and kind[first] == Class.ADJECTIVE:
        first -= 1
    quantified = kind[first] in (Class.QUANTIFIER_SINGULAR, Class.QUANTIFIER_PLURAL)
    return [subject, first] if quantified else [subject]


def _turned(word: int) -> int:
    """The same word in the other number; quantifiers in the order of their list."""
    known = vocabulary()
    kind = Class(int(known.class_of[word]))
    other = _OTHER[kind]
    per_language = known.size_of[kind] // 3, known.size_of[other] // 3
    language, place = divmod(word - int(known.first[kind]), int(per_language[0]))
    return int(known.first[other] + language * per_language[1] + place % per_language[1])


def _verbs(number: str) -> list[int]:
    found: Ints = np.flatnonzero(np.isin(vocabulary().class_of, _VERBS[number]))
    return [int(word) for word in found]
