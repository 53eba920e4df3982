"""Concepts that need no judge: deterministic labellers of tokens, in families. A new one is a line in its file.

concept.py    the kinds: of a token's text, of the word so far, of a word list, of the text around
bank.py       the labels of a block of rows, all concepts at once
reading.py    what the last kind may look at
"""

from __future__ import annotations

from .before import BEFORE
from .concept import Concept
from .documents import DOCUMENT
from .forms import CASE, FORM, NUMBER, PUNCTUATION, SCRIPT, SPACE
from .function_words import FUNCTION
from .history import HISTORY
from .languages import LANGUAGE, LANGUAGE_WORDS
from .people_lexica import PEOPLE
from .positions import POSITION
from .society_lexica import SOCIETY
from .spellings import CONTRACTION, LETTER, PREFIX, SUFFIX
from .structure import STRUCTURE
from .world_lexica import WORLD

_FAMILIES: tuple[tuple[Concept, ...], ...] = (
    *(CASE, FORM, NUMBER, PUNCTUATION, SPACE, SCRIPT, LETTER, SUFFIX, PREFIX, CONTRACTION, FUNCTION, LANGUAGE_WORDS),
    *(WORLD, PEOPLE, SOCIETY, POSITION, BEFORE, STRUCTURE, HISTORY, LANGUAGE, DOCUMENT),
)
CONCEPTS: tuple[Concept, ...] = tuple(concept for family in _FAMILIES for concept in family)

__all__ = ["CONCEPTS", "Concept"]
