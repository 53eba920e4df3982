"""The syntax: a probabilistic grammar in which the next class of word always decides the rule.

A reader therefore knows at every word which state the grammar is in, and the probability of the next class depends on
that state, on the brackets open, and on one thing that it cannot see: the style. In the usual notation (n: number)

    sentence   → [opener ,] clauses stop | name fact-verb value stop | query-word name ? value stop
    clauses    → clause | clause conjunction clauses
    clause     → phrase(n) [( clause ) | preposition phrase(m)] predicate(n)
    predicate  → verb(n) [phrase(m) [( clause )] | adverb phrase(m) [( clause )] | adverb] [preposition phrase(m)]
               | copula(n) [adverb] adjective [preposition phrase(m)]
    phrase(n)  → determiner|quantifier(n) adjective* noun(n)

with round or square brackets, at most four deep. A bracket or a prepositional phrase between a noun and its verb must
be read across to agree.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .vocabulary import N_CLASSES, Class

DEEPEST = 4  # brackets in each other
N_STYLES = 4

# Rates of the four styles (plain, ornate, bracketing, talkative), beside weights of 1 or so. Chosen so that documents
# of 255 words state most of their facts (6 of 8 on average); not tuned to anything else.
OPENER = np.array([0.03, 0.12, 0.15, 0.50])
QUERY = np.array([0.20, 0.12, 0.15, 0.30])
ADJECTIVE = np.array([0.10, 0.50, 0.25, 0.20])
BRACKET = np.array([0.06, 0.10, 0.50, 0.10])
ADVERB = np.array([0.10, 0.60, 0.20, 0.35])
CONJUNCTION = np.array([0.04, 0.15, 0.08, 0.25])
STATEMENT = 0.35  # while there are facts to state
PREPOSITION = 0.2

NUMBERS = ("singular", "plural")
_NOUN = {"singular": Class.NOUN_SINGULAR, "plural": Class.NOUN_PLURAL}
_VERB = {"singular": Class.VERB_SINGULAR, "plural": Class.VERB_PLURAL}
_COPULA = {"singular": Class.COPULA_SINGULAR, "plural": Class.COPULA_PLURAL}

# A state is a name; "start" has three, by the facts stated so far (none, some, all).
STARTS = ("start none", "start some", "start all")
_END, _BRACKET = "end", "bracket"  # stand for the classes that end a clause here, and that open a bracket
_Weight = float | NDArray[np.float64]
_Rule = tuple[Class | str, str, _Weight]  # what comes, the state after it, its weight


def _phrase(prefix: str, after: str) -> dict[str, list[_Rule]]:
    """Adjectives and the noun of a phrase whose determiner has been read; {} in `after` is the number."""
    rules: dict[str, list[_Rule]] = {}
    for known in ("any", *NUMBERS):
        state = f"{prefix} {known}"
        nouns = [n for n in NUMBERS if known in ("any", n)]
        rules[state] = [(Class.ADJECTIVE, state, ADJECTIVE)]
        rules[state] += [(_NOUN[n], after.format(n), (1 - ADJECTIVE) / len(nouns)) for n in nouns]
    return rules


def _opening(prefix: str, weight: float = 1.0) -> list[_Rule]:
    return [
        (Class.DETERMINER, f"{prefix} any", 0.6 * weight),
        (Class.QUANTIFIER_SINGULAR, f"{prefix} singular", 0.2 * weight),
        (Class.QUANTIFIER_PLURAL, f"{prefix} plural", 0.2 * weight),
    ]


def _predicate(number: str) -> list[_Rule]:
    return [(_VERB[number], "verb", 0.7), (_COPULA[number], "copula", 0.3)]


def _rules() -> dict[str, list[_Rule]]:
    facts: list[_Rule] = [(Class.NAME, "stated name", STATEMENT)]
    queries: list[_Rule] = [(Class.QUERY_WORD, "query word", QUERY)]
    plain: list[_Rule] = [*_opening("subject", 0.65), (Class.OPENER, "opened", OPENER)]
    rules: dict[str, list[_Rule]] = {
        "start none": plain + facts,
        "start some": plain + facts + queries,
        "start all": [*plain, *queries, (Class.NAME, "stated name", 0.0)],  # a statement may still be copied
        "opened": [(Class.COMMA, "opened comma", 1.0)],
        "opened comma": _opening("subject"),
        "clause": _opening("subject"),
        "verb": [*_opening("object", 0.7), (Class.ADVERB, "verb adverb", ADVERB), (_END, "", 0.3)],
        "verb adverb": [*_opening("object", 0.5), (_END, "", 0.5)],
        "object done": [
            (_BRACKET, "object closed", BRACKET),
            (Class.PREPOSITION, "place", PREPOSITION),
            (_END, "", 0.8),
        ],
        "object closed": [(Class.PREPOSITION, "place", PREPOSITION), (_END, "", 0.8)],
        "copula": [(Class.ADVERB, "copula adverb", ADVERB), (Class.ADJECTIVE, "copula done", 1.0)],
        "copula adverb": [(Class.ADJECTIVE, "copula done", 1.0)],
        "copula done": [(Class.PREPOSITION, "place", PREPOSITION), (_END, "", 0.8)],
        "place": _opening("place"),
        "place done": [(_END, "", 1.0)],
        "stated name": [(Class.FACT_VERB, "stated verb", 1.0)],
        "stated verb": [(Class.VALUE, "stated value", 1.0)],
        "stated value": [(Class.STOP, "", 1.0)],
        "query word": [(Class.NAME, "query name", 1.0)],
        "query name": [(Class.QUESTION, "query mark", 1.0)],
        "query mark": [(Class.VALUE, "query value", 1.0)],
        "query value": [(Class.STOP, "", 1.0)],
    }
    rules |= _phrase("subject", "subject done {}") | _phrase("object", "object done") | _phrase("place", "place done")
    for n in NUMBERS:
        across: list[_Rule] = [
            (_BRACKET, f"subject closed {n}", BRACKET),
            (Class.PREPOSITION, f"between {n}", PREPOSITION),
        ]
        rules[f"subject done {n}"] = across + _predicate(n)
        rules[f"subject closed {n}"] = _predicate(n)
        rules[f"between {n}"] = _opening(f"between {n}")
        rules |= _phrase(f"between {n}", f"between done {n} {{}}")
        for m in NUMBERS:
            rules[f"between done {n} {m}"] = _predicate(n)
    return rules


# What a state offers depends on the brackets too: situation = state · MODES + mode. The modes: no bracket open; a round
# or a square one innermost, with room for more; the same at full depth.
MODES = 5


class Grammar(NamedTuple):
    states: tuple[str, ...]
    following: NDArray[np.int64]  # [states, classes] state after a word; −1 where the class cannot come, brackets aside
    after_bracket: NDArray[np.int64]  # [states], where the clause goes on once a bracket opened here is closed, or −1
    probability: NDArray[np.float64]  # [situations, styles, classes]
    start: NDArray[np.int64]  # [3], states that begin a sentence
    clause: int  # the state that begins a clause in a bracket or after a conjunction

    def state(self, name: str) -> int:
        return self.states.index(name)


@cache
def grammar() -> Grammar:
    rules = _rules()
    states = tuple(rules)
    number = {name: i for i, name in enumerate(states)}
    following = np.full((len(states), N_CLASSES), -1, np.int64)
    after_bracket = np.full(len(states), -1, np.int64)
    weight = np.zeros((len(states), MODES, N_STYLES, N_CLASSES))
    for name, entries in rules.items():
        for comes, after, share in entries:
            if comes == _BRACKET:
                after_bracket[number[name]] = number[after]
            for mode in range(MODES):
                for kind, part in _classes(comes, mode):
                    weight[number[name], mode, :, kind] += share * part
                    if after and isinstance(comes, Class):
                        following[number[name], kind] = number[after]
                    elif kind == Class.CONJUNCTION:
                        following[number[name], kind] = number["clause"]
    probability = weight / weight.sum(-1, keepdims=True)
    return Grammar(
        states=states,
        following=following,
        after_bracket=after_bracket,
        probability=probability.reshape(-1, N_STYLES, N_CLASSES),
        start=np.array([number[name] for name in STARTS]),
        clause=number["clause"],
    )


def _classes(comes: Class | str, mode: int) -> list[tuple[Class, _Weight]]:
    """The classes that an entry of the rules stands for, with shares of its weight."""
    if isinstance(comes, Class):
        return [(comes, 1.0)]
    if comes == _BRACKET:  # none at full depth: its weight is lost and the others' shares grow
        return [(Class.OPEN_ROUND, 0.5), (Class.OPEN_SQUARE, 0.5)] if mode < 3 else []
    if mode == 0:
        return [(Class.STOP, 1 - CONJUNCTION), (Class.CONJUNCTION, CONJUNCTION)]
    return [(Class.CLOSE_ROUND if mode in (1, 3) else Class.CLOSE_SQUARE, 1.0)]
