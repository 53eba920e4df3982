"""The factors: what is true of a word, by name, and which factor contains which.

A factor g is below f where g implies f at every word of every document: `noun/singular` below `noun` and
`form/singular`. They form a directed acyclic graph, given by each factor's parents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .document import Document
from .grammar import NUMBERS, STARTS, grammar
from .vocabulary import OPEN_CLASSES, PUNCTUATION_CLASSES, Class, entity_type, vocabulary
from .words import ENTITY_TYPES, LANGUAGES, STYLES, TOPICS

Bools = NDArray[np.bool_]
NEW_TOPIC_WORDS = 8  # words for which a topic counts as new
POSITIONS = {"0": (0, 0), "1": (1, 1), "2-3": (2, 3), "4-7": (4, 7), "8+": (8, 1 << 30)}


@dataclass(frozen=True)
class Factor:
    name: str
    meaning: str
    parents: tuple[str, ...] = ()


def _hidden() -> list[Factor]:
    return [
        *(Factor(f"language/{name}", "language of the document") for name in LANGUAGES),
        *(Factor(f"topic/{name}", "topic in force, whatever the word") for name in TOPICS),
        *(Factor(f"style/{name}", "style of the document") for name in STYLES),
        *(Factor(f"speaker/{i}", "speaker of the document") for i in range(8)),
        Factor("topic/new", f"the topic changed at this word or the {NEW_TOPIC_WORDS - 1} before it"),
    ]


def _word_classes() -> list[Factor]:
    listed = [
        Factor("open", "noun, verb or adjective"),
        Factor("function", "function word"),
        Factor("punctuation", "punctuation"),
        Factor("entity", "name or value"),
        *(Factor(f"form/{n}", f"{n} form of a noun, verb, copula or quantifier") for n in NUMBERS),
        *(Factor(name, name, ("open",)) for name in ("noun", "verb", "adjective")),
        *(
            Factor(name, name, ("function",))
            for name in (
                *("opener", "determiner", "quantifier", "copula", "preposition", "conjunction", "adverb"),
                *("fact verb", "query word"),
            )
        ),
        *(Factor(name, name, ("punctuation",)) for name in ("stop", "question mark", "bracket")),
        *(Factor(f"bracket/{name}", f"{name} bracket", ("bracket",)) for name in ("open", "close")),
        *(Factor(name, name, ("entity",)) for name in ("name", "value")),
        *(Factor(f"entity/{t}", f"name of a {t}, or a value that such have", ("entity",)) for t in ENTITY_TYPES),
    ]
    for kind in ("noun", "verb", "copula", "quantifier"):
        listed += [Factor(f"{kind}/{n}", f"{n} {kind}", (kind, f"form/{n}")) for n in NUMBERS]
    for kind in ("name", "value"):
        listed += [Factor(f"{kind}/{t}", f"{kind} of a {t}", (kind, f"entity/{t}")) for t in ENTITY_TYPES]
    return listed


def _senses() -> list[Factor]:
    return [
        *(Factor(f"sense/{t}", f"word chosen because the topic is {t}", ("open", f"topic/{t}")) for t in TOPICS),
        Factor("polysemous", "the word belongs to two topics", ("open",)),
        Factor("polysemous/second", "it is meant in the later one of the two", ("polysemous",)),
        Factor("noise", "the word is any of its class", ("open",)),
    ]


def _syntax() -> list[Factor]:
    return [
        *(Factor(f"depth/{d}+", f"{d} or more brackets open", (f"depth/{d - 1}+",) * (d > 1)) for d in range(1, 5)),
        *(Factor(f"depth/{d}", f"{d} brackets open", (f"depth/{d}+",) * (d > 0)) for d in range(4)),
        *(Factor(f"inside/{k}", f"the innermost bracket is {k}", ("depth/1+",)) for k in ("round", "square")),
        *(Factor(f"phrase/{p}", f"in a phrase: {m}") for p, m in _PHRASES.items() if p != "between"),
        Factor("awaits", "the subject's noun has been read and its verb has not"),
        *(Factor(f"awaits/{n}", f"the verb to come is {n}", ("awaits",)) for n in NUMBERS),
        Factor("phrase/between", f"in a phrase: {_PHRASES['between']}", ("awaits",)),
        Factor("mismatch", "a noun between subject and verb has the other number", ("phrase/between",)),
        *(Factor(f"around/{n}", f"the clause around the bracket awaits a {n} verb", ("depth/1+",)) for n in NUMBERS),
        Factor("agrees", "verb or copula that agrees with a subject"),
        Factor("agrees/across", "with a phrase or a bracket between them", ("agrees",)),
        *(Factor(f"sentence/{k}", f"in a {k} sentence") for k in ("plain", "statement", "query")),
        *(Factor(f"position/{p}", "words before it in the sentence") for p in POSITIONS),
        *(Factor(f"quarter/{q}", f"in quarter {q} of the document") for q in range(1, 5)),
    ]


_PHRASES = {"subject": "the subject", "object": "the object", "place": "of place, behind", "between": "before the verb"}


def _memory() -> list[Factor]:
    return [
        Factor("copied", "in a sentence that repeats an earlier one"),
        Factor("copied/first", "its first word", ("copied", "position/0")),
        *(Factor(f"copied/{j}", f"repeats the sentence {j} back", ("copied",)) for j in range(1, 5)),
        Factor("repeats/word", "the word has occurred in the document"),
        Factor("repeats/pair", "the word and the one before it have, together", ("repeats/word",)),
        Factor("name/stated", "name of a fact that is stated", ("name", "sentence/statement")),
        Factor("value/stated", "value of a fact that is stated", ("value", "sentence/statement")),
        Factor("name/asked", "name that is asked for", ("name", "sentence/query")),
        Factor("value/recalled", "value that must be recalled", ("value", "sentence/query")),
        *(Factor(f"fact/{i}", f"name or value of fact {i} of the document", ("entity",)) for i in range(1, 9)),
        Factor("facts/none", "no fact has been stated so far"),
        Factor("facts/all", "all facts have been stated"),
    ]


FACTORS: tuple[Factor, ...] = (*_hidden(), *_word_classes(), *_senses(), *_syntax(), *_memory())


def labels(document: Document) -> Bools:
    """[words, factors], in the order of FACTORS."""
    truths = _truths(document)
    found = np.zeros((len(document.words), len(FACTORS)), np.bool_)
    for column, factor in enumerate(FACTORS):
        found[:, column] = truths[factor.name]
    return found


def ancestors(name: str) -> set[str]:
    """All factors that contain this one."""
    return set(_ancestors()[name])


@cache
def _ancestors() -> dict[str, frozenset[str]]:
    parents = {factor.name: factor.parents for factor in FACTORS}

    def above(name: str) -> frozenset[str]:
        return frozenset(parents[name]).union(*(above(parent) for parent in parents[name]))

    return {name: above(name) for name in parents}


def _truths(document: Document) -> dict[str, Bools | bool]:
    kind = vocabulary().class_of[document.words]
    return (
        _hidden_truths(document)
        | _class_truths(document, kind)
        | _sense_truths(document, kind)
        | _syntax_truths(document, kind)
        | _memory_truths(document, kind)
    )


def _hidden_truths(document: Document) -> dict[str, Bools | bool]:
    topic = document.trace.topic
    changed = np.flatnonzero(np.diff(topic)) + 1
    new = np.zeros(len(topic), np.bool_)
    for at in changed:
        new[at : at + NEW_TOPIC_WORDS] = True
    return {
        **{f"language/{name}": document.language == i for i, name in enumerate(LANGUAGES)},
        **{f"topic/{name}": topic == i for i, name in enumerate(TOPICS)},
        **{f"style/{name}": document.style == i for i, name in enumerate(STYLES)},
        **{f"speaker/{i}": document.speaker == i for i in range(8)},
        "topic/new": new,
    }


def _class_truths(document: Document, kind: NDArray[np.int64]) -> dict[str, Bools | bool]:
    numbered = {
        "noun": (Class.NOUN_SINGULAR, Class.NOUN_PLURAL),
        "verb": (Class.VERB_SINGULAR, Class.VERB_PLURAL),
        "copula": (Class.COPULA_SINGULAR, Class.COPULA_PLURAL),
        "quantifier": (Class.QUANTIFIER_SINGULAR, Class.QUANTIFIER_PLURAL),
    }
    is_open, is_punctuation = np.isin(kind, OPEN_CLASSES), np.isin(kind, PUNCTUATION_CLASSES)
    is_name, is_value = kind == Class.NAME, kind == Class.VALUE
    opens = (kind == Class.OPEN_ROUND) | (kind == Class.OPEN_SQUARE)
    closes = (kind == Class.CLOSE_ROUND) | (kind == Class.CLOSE_SQUARE)
    found: dict[str, Bools | bool] = {
        "open": is_open,
        "punctuation": is_punctuation,
        "entity": is_name | is_value,
        "function": ~(is_open | is_punctuation | is_name | is_value),
        "adjective": kind == Class.ADJECTIVE,
        "stop": kind == Class.STOP,
        "question mark": kind == Class.QUESTION,
        "bracket": opens | closes,
        "bracket/open": opens,
        "bracket/close": closes,
        "name": is_name,
        "value": is_value,
    }
    for single in ("opener", "determiner", "preposition", "conjunction", "adverb", "fact verb", "query word"):
        found[single] = kind == Class[single.upper().replace(" ", "_")]
    for i, number in enumerate(NUMBERS):
        found[f"form/{number}"] = np.isin(kind, [classes[i] for classes in numbered.values()])
    for name, classes in numbered.items():
        found[name] = np.isin(kind, classes)
        found |= {f"{name}/{number}": kind == classes[i] for i, number in enumerate(NUMBERS)}
    types = entity_type(document.words)
    for i, t in enumerate(ENTITY_TYPES):
        found |= {f"name/{t}": is_name & (types == i), f"value/{t}": is_value & (types == i)}
        found[f"entity/{t}"] = (is_name | is_value) & (types == i)
    return found


def _sense_truths(document: Document, kind: NDArray[np.int64]) -> dict[str, Bools | bool]:
    trace, topics = document.trace, vocabulary().topics_of[document.words]
    meant = np.isin(kind, OPEN_CLASSES) & ~trace.noise & (trace.source == 0)
    return {
        **{f"sense/{name}": meant & (trace.topic == i) for i, name in enumerate(TOPICS)},
        "polysemous": topics[:, 1] >= 0,
        "polysemous/second": meant & (topics[:, 1] == trace.topic),
        "noise": trace.noise,
    }


@cache
def _states(condition: str) -> NDArray[np.int64]:
    """Numbers of the states of the grammar of which a condition holds."""
    names = grammar().states
    waiting = [n for n in names if n.startswith(("subject done", "subject closed", "between"))]
    chosen = {
        "subject": [n for n in names if n.startswith(("subject any", "subject sing", "subject plur", "subject done"))],
        "object": [n for n in names if n.startswith("object") and n != "object closed"],
        "place": [n for n in names if n.startswith("place")],
        "between": [n for n in names if n.startswith("between")],
        "awaits": waiting,
        "mismatch": ["between done singular plural", "between done plural singular"],
        "across": [n for n in names if n.startswith(("between done", "subject closed"))],
        "start": list(STARTS),
        "statement": [n for n in names if n.startswith("stated")],
        "query": [n for n in names if n.startswith("query")],
        **{n: [state for state in waiting if n in _first_number(state)] for n in NUMBERS},
    }
    return np.array([names.index(name) for name in chosen[condition]])


def _first_number(state: str) -> str:
    return next((word for word in state.split() if word in NUMBERS), "")


def _syntax_truths(document: Document, kind: NDArray[np.int64]) -> dict[str, Bools | bool]:
    trace = document.trace
    agrees = np.isin(kind, [Class.VERB_SINGULAR, Class.VERB_PLURAL, Class.COPULA_SINGULAR, Class.COPULA_PLURAL])
    statement = np.isin(trace.before, _states("statement")) | (
        np.isin(trace.before, _states("start")) & (kind == Class.NAME)
    )
    query = np.isin(trace.before, _states("query")) | (kind == Class.QUERY_WORD)
    quarter = np.arange(len(kind)) * 4 // len(kind)
    return {
        **{f"depth/{d}+": trace.depth >= d for d in range(1, 5)},
        **{f"depth/{d}": trace.depth == d for d in range(4)},
        **{f"inside/{k}": trace.innermost == i for i, k in enumerate(("round", "square"), start=1)},
        **{f"phrase/{p}": np.isin(trace.after, _states(p)) for p in _PHRASES},
        "awaits": np.isin(trace.after, _states("awaits")),
        **{f"awaits/{n}": np.isin(trace.after, _states(n)) for n in NUMBERS},
        "mismatch": np.isin(trace.after, _states("mismatch")),
        **{f"around/{n}": np.isin(trace.resumed, _states(n)) for n in NUMBERS},
        "agrees": agrees,
        "agrees/across": agrees & np.isin(trace.before, _states("across")),
        "sentence/statement": statement,
        "sentence/query": query,
        "sentence/plain": ~(statement | query),
        **{f"position/{p}": (low <= trace.place) & (trace.place <= high) for p, (low, high) in POSITIONS.items()},
        **{f"quarter/{q}": quarter == q - 1 for q in range(1, 5)},
    }


def _memory_truths(document: Document, kind: NDArray[np.int64]) -> dict[str, Bools | bool]:
    trace, words = document.trace, document.words
    asked = np.isin(trace.before, _states("query"))
    pairs = np.concatenate([[-1], words[:-1] * len(vocabulary().words) + words[1:]])
    is_name, is_value = kind == Class.NAME, kind == Class.VALUE
    return {
        "copied": trace.source > 0,
        "copied/first": (trace.source > 0) & (trace.place == 0),
        **{f"copied/{j}": trace.source == j for j in range(1, 5)},
        "repeats/word": _seen(words),
        "repeats/pair": _seen(pairs),
        "name/stated": is_name & ~asked,
        "value/stated": is_value & ~asked,
        "name/asked": is_name & asked,
        "value/recalled": is_value & asked,
        **{f"fact/{i}": trace.fact == i - 1 for i in range(1, 9)},
        "facts/none": trace.n_stated == 0,
        "facts/all": trace.n_stated == document.spec.facts,
    }


def _seen(values: NDArray[np.int64]) -> Bools:
    """Whether each value occurs earlier."""
    _, first = np.unique(values, return_index=True)
    seen = np.ones(len(values), np.bool_)
    seen[first] = False
    return seen
