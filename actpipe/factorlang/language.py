"""The sizes and rates of the language, and the probability of a word of a class given what is hidden.

Hidden for a whole document: language, style, speaker. Hidden and changing: the topic, which is left with probability
`switch` before every word, for one of the others. What each decides:

    language   every word but names, values and punctuation
    topic      nouns, verbs and adjectives (10, 8 and 7 of each, 1/rank)
    speaker    the opener, which verbs of the topic and which prepositions come first (the ranks, rotated)
    style      the rates of the grammar, the determiner and the adverb

With probability `noise` a noun, verb or adjective is any word of its class, of any language and topic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .grammar import N_STYLES
from .vocabulary import LANGUAGE_FREE, N_CLASSES, OPEN_CLASSES, SIZE, Class, vocabulary

VERSION = 1  # of the language: changes whenever a document or a probability does
SOURCES = 4  # sentences back that may be copied
N_SPEAKERS, N_SLOTS = 8, 10
_OWN = 0.65  # share of a speaker's own opener, a style's own determiner and own two adverbs


@dataclass(frozen=True, kw_only=True)
class Language:
    """The defaults are FactorLang; smaller sizes are languages on which everything can be enumerated."""

    words: int = 255  # in every document; with the end-of-text token 256
    languages: int = 3
    styles: int = 4
    speakers: int = 8
    topics: int = 16
    facts: int = 8
    switch: float = 0.01
    noise: float = 0.02
    copy: float = 0.1  # of sentences that repeat one of the last 4, word for word

    def __post_init__(self) -> None:
        largest = {
            "languages": 3,
            "styles": N_STYLES,
            "speakers": N_SPEAKERS,
            "topics": 16,
            "facts": 8,
            "words": 1 << 16,
        }
        for name, most in largest.items():
            if not 1 <= getattr(self, name) <= most:
                raise Misuse(f"FactorLang has no {name}={getattr(self, name)}; give 1 to {most}.")
        for name in ("switch", "noise", "copy"):
            if not 0 <= getattr(self, name) <= 1:
                raise Misuse(f"{name}={getattr(self, name)} is no probability; give 0 to 1.")

    @property
    def hidden(self) -> tuple[int, int, int, int]:
        """Values of style, language, speaker and topic: the shape of the filter's state."""
        return self.styles, self.languages, self.speakers, self.topics

    @property
    def emission(self) -> NDArray[np.float64]:
        """[2048, style, language, speaker, topic]: probability of a word given its class and what is hidden.

        That of names, values and the verbs of facts hangs on the document's facts besides (`Reading.memory`).
        """
        return _emission(self)


def cumulative(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """[…, n] → the same; the number of entries that u ∈ [0, 1) is not below is a draw, and never one of weight 0."""
    total = np.cumsum(weights, -1)
    total = total / total[..., -1:]
    behind = np.flip(np.cumsum(np.flip(weights, -1), -1), -1) - weights <= 0  # nothing may come after this entry
    return np.where(behind, 2.0, total)


@cache
def slot_weights() -> NDArray[np.float64]:
    """[classes, style, speaker, slot]: share of the candidates of a class, in the order of `Vocabulary.candidates`."""
    candidates = vocabulary().candidates
    weight = np.zeros((N_CLASSES, N_STYLES, N_SPEAKERS, N_SLOTS))
    speaker, slot = np.ogrid[:N_SPEAKERS, :N_SLOTS]
    for kind in Class:
        n = int((candidates[kind, 0, 0] >= 0).sum())
        if n == 0:
            continue
        rank = np.broadcast_to(slot[:, :n], (N_SPEAKERS, n))
        if kind in (Class.VERB_SINGULAR, Class.VERB_PLURAL, Class.PREPOSITION):
            rank = (rank + speaker) % n
        topical = kind in OPEN_CLASSES or kind == Class.PREPOSITION
        weight[kind, :, :, :n] = 1 / (1 + rank) if topical else 1.0
    own, others = _OWN, 1 - _OWN
    speakers, styles = np.arange(N_SPEAKERS), np.arange(N_STYLES)
    weight[Class.OPENER, :, :, :8] = others / 7
    weight[Class.OPENER, :, speakers, speakers] = own
    weight[Class.DETERMINER, :, :, :4] = others / 3
    weight[Class.DETERMINER, styles, :, styles] = own
    weight[Class.ADVERB, :, :, :8] = others / 6
    for second in (0, 1):
        weight[Class.ADVERB, styles, :, 2 * styles + second] = own / 2
    total = weight.sum(-1, keepdims=True)
    return weight / np.where(total > 0, total, 1)


@lru_cache(maxsize=4)  # 25 MB each
def _emission(language: Language) -> NDArray[np.float64]:
    known, weight = vocabulary(), slot_weights()
    table = np.zeros((SIZE, *language.hidden))
    for kind in Class:
        words = slice(int(known.first[kind]), int(known.first[kind] + known.size_of[kind]))
        if kind in LANGUAGE_FREE:
            table[words] = 1
            continue
        for spoken in range(language.languages):
            for topic in range(language.topics):
                for slot, word in enumerate(known.candidates[kind, spoken, topic]):
                    if word >= 0:
                        share = weight[kind, : language.styles, : language.speakers, slot]
                        table[word, :, spoken, :, topic] += 1.0 if kind == Class.FACT_VERB else share
        if kind in OPEN_CLASSES:
            table[words] = (1 - language.noise) * table[words] + language.noise / known.size_of[kind]
    return table
