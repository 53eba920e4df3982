"""The 2,048 words by number: 4 special tokens, then the classes of words one after the other, each by language.

A word has one class, so a reader always knows the syntax. What it cannot see (language, style, speaker, topic) decides
which word of the class is used.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import words as lexicon

SPECIAL_TOKENS = ("<|endoftext|>", "<unk>", "<pad>", "<mask>")
SIZE = 2048


class Class(IntEnum):
    STOP = 0
    QUESTION = 1
    OPEN_ROUND = 2
    CLOSE_ROUND = 3
    OPEN_SQUARE = 4
    CLOSE_SQUARE = 5
    COMMA = 6
    OPENER = 7
    DETERMINER = 8
    QUANTIFIER_SINGULAR = 9
    QUANTIFIER_PLURAL = 10
    COPULA_SINGULAR = 11
    COPULA_PLURAL = 12
    PREPOSITION = 13
    CONJUNCTION = 14
    ADVERB = 15
    FACT_VERB = 16
    QUERY_WORD = 17
    NAME = 18
    VALUE = 19
    NOUN_SINGULAR = 20
    NOUN_PLURAL = 21
    VERB_SINGULAR = 22
    VERB_PLURAL = 23
    ADJECTIVE = 24


N_CLASSES = len(Class)
PUNCTUATION_CLASSES = tuple(Class(i) for i in range(7))
OPEN_CLASSES = (Class.NOUN_SINGULAR, Class.NOUN_PLURAL, Class.VERB_SINGULAR, Class.VERB_PLURAL, Class.ADJECTIVE)
LANGUAGE_FREE = (*PUNCTUATION_CLASSES, Class.NAME, Class.VALUE)
N_NAMES_OF_TYPE, N_VALUES_OF_TYPE = 16, 14
N_TYPES = len(lexicon.ENTITY_TYPES)
N_NAMES = N_TYPES * N_NAMES_OF_TYPE

_CLOSED = {
    Class.OPENER: lexicon.OPENERS,
    Class.DETERMINER: lexicon.DETERMINERS,
    Class.QUANTIFIER_SINGULAR: lexicon.QUANTIFIERS_SINGULAR,
    Class.QUANTIFIER_PLURAL: lexicon.QUANTIFIERS_PLURAL,
    Class.COPULA_SINGULAR: [lexicon.COPULAS[0]],
    Class.COPULA_PLURAL: [lexicon.COPULAS[1]],
    Class.PREPOSITION: lexicon.PREPOSITIONS,
    Class.CONJUNCTION: lexicon.CONJUNCTIONS,
    Class.ADVERB: lexicon.ADVERBS,
    Class.FACT_VERB: lexicon.FACT_VERBS,
    Class.QUERY_WORD: lexicon.QUERY_WORDS,
}
_TOPICAL = {
    Class.NOUN_SINGULAR: lexicon.NOUNS,
    Class.NOUN_PLURAL: lexicon.NOUNS,
    Class.VERB_SINGULAR: lexicon.VERBS,
    Class.VERB_PLURAL: lexicon.VERBS,
    Class.ADJECTIVE: lexicon.ADJECTIVES,
}


class Vocabulary(NamedTuple):
    words: tuple[str, ...]  # [2048]
    class_of: NDArray[np.int64]  # [2048], −1 for special tokens
    language_of: NDArray[np.int64]  # [2048], −1 where every language has the word
    first: NDArray[np.int64]  # [classes], number of the first word of each class
    size_of: NDArray[np.int64]  # [classes], words of it, all languages
    candidates: NDArray[np.int64]  # [classes, language, topic, slot], −1 beyond the last; the same for all topics of a
    # closed class
    topics_of: NDArray[np.int64]  # [2048, 2], topics a word means, −1 for none
    numbers: dict[str, int]  # word → its place


@cache
def vocabulary() -> Vocabulary:
    words: list[str] = list(SPECIAL_TOKENS)
    class_of, language_of = [-1] * len(words), [-1] * len(words)
    first = np.zeros(N_CLASSES, np.int64)
    translated = _translations()
    for kind in Class:
        first[kind] = len(words)
        for language, forms in enumerate(_forms(kind, translated)):
            words += forms
            language_of += [-1 if kind in LANGUAGE_FREE else language] * len(forms)
            class_of += [int(kind)] * len(forms)
    numbers = {word: number for number, word in enumerate(words)}
    assert len(numbers) == len(words) == SIZE, (len(numbers), len(words))
    sizes = np.bincount(np.array(class_of[len(SPECIAL_TOKENS) :]), minlength=N_CLASSES)
    candidates = _candidates(first)
    return Vocabulary(
        words=tuple(words),
        class_of=np.array(class_of),
        language_of=np.array(language_of),
        first=first,
        size_of=sizes,
        candidates=candidates,
        topics_of=_topics_of(candidates),
        numbers=numbers,
    )


def entity_type(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Type of a name, a value or the verb of a fact; −1 for other words."""
    known = vocabulary()
    kind, offset = known.class_of[words], words - known.first[known.class_of[words]]
    types = np.select(
        [kind == Class.NAME, kind == Class.VALUE, kind == Class.FACT_VERB],
        [offset // N_NAMES_OF_TYPE, offset // N_VALUES_OF_TYPE, offset % N_TYPES],
        -1,
    )
    return np.asarray(types, np.int64)


def _lemmas(topics: dict[str, str]) -> list[str]:
    return list(dict.fromkeys(word for listed in topics.values() for word in listed.split()))


def _forms(kind: Class, translated: dict[tuple[str, str], str]) -> list[list[str]]:
    """Words of a class, a list for each language that has its own."""
    if kind in PUNCTUATION_CLASSES:
        return [[lexicon.PUNCTUATION[kind]]]
    if kind in (Class.NAME, Class.VALUE):
        return [" ".join(lexicon.NAMES if kind == Class.NAME else lexicon.VALUES).split()]
    base = _CLOSED[kind] if kind in _CLOSED else _lemmas(_TOPICAL[kind])
    return [[_inflected(kind, name, translated[name, word]) for word in base] for name in lexicon.LANGUAGES]


def _inflected(kind: Class, language: str, word: str) -> str:
    if kind == Class.NOUN_PLURAL:
        return lexicon.plural_noun(language, word)
    return lexicon.singular_verb(language, word) if kind == Class.VERB_SINGULAR else word


@cache
def _translations() -> dict[tuple[str, str], str]:
    """(language, English word) → word, such that no two forms of any words are spelled alike."""
    found: dict[tuple[str, str], str] = {}
    taken = set(" ".join((*lexicon.NAMES, *lexicon.VALUES)).split())
    for language in lexicon.LANGUAGES:
        for meaning, kinds in _meanings():
            for attempt in range(1000):
                word = meaning if language == "english" else lexicon.invented(language, meaning, attempt)
                forms = {_inflected(kind, language, word) for kind in kinds}
                if not forms & taken:
                    break
            else:
                raise AssertionError(f"{meaning} is spelled like another word")
            taken |= forms
            found[language, meaning] = word
    return found


def _meanings() -> list[tuple[str, tuple[Class, ...]]]:
    """English words and the classes in which they have a form."""
    inflected = [
        (lexicon.NOUNS, (Class.NOUN_SINGULAR, Class.NOUN_PLURAL)),
        (lexicon.VERBS, (Class.VERB_PLURAL, Class.VERB_SINGULAR)),
        (lexicon.ADJECTIVES, (Class.ADJECTIVE,)),
    ]
    closed = [(word, (kind,)) for kind, words in _CLOSED.items() for word in words]
    return [(word, kinds) for topics, kinds in inflected for word in _lemmas(topics)] + closed


def _candidates(first: NDArray[np.int64]) -> NDArray[np.int64]:
    n_languages, n_topics = len(lexicon.LANGUAGES), len(lexicon.TOPICS)
    found = np.full((N_CLASSES, n_languages, n_topics, 10), -1, np.int64)
    for kind in Class:
        for language in range(n_languages):
            if kind in _TOPICAL:
                lemmas = _lemmas(_TOPICAL[kind])
                start = first[kind] + language * len(lemmas)
                for topic, listed in enumerate(_TOPICAL[kind].values()):
                    numbers = [start + lemmas.index(word) for word in listed.split()]
                    found[kind, language, topic, : len(numbers)] = numbers
            elif kind in _CLOSED:
                n = len(_CLOSED[kind])
                found[kind, language, :, :n] = first[kind] + language * n + np.arange(n)
            elif kind in PUNCTUATION_CLASSES:
                found[kind, language, :, 0] = first[kind]
    return found


def _topics_of(candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.full((SIZE, 2), -1, np.int64)
    for kind in OPEN_CLASSES:
        for (_, topic, _), word in np.ndenumerate(candidates[kind]):
            if word >= 0:
                found[word, int(found[word, 0] >= 0)] = topic
    return found
