"""What a concept is: a deterministic yes or no at every token, with a name, a family and the concepts that contain it.

A concept that is true only where each of its parents is true names them: the "second best" concept of a unit is looked
for outside of this chain, since `one digit` does not compete with `digits`.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .reading import Reading

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Concept(ABC):
    name: str  # "family/what", unique in a bank
    text: str  # true where …: completes "the token is", "the token stands" or the like
    parents: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        return self.name.split("/")[0]


@dataclass(frozen=True, kw_only=True)
class TokenConcept(Concept):
    """A function of the token's own text, with its spaces: computed once a vocabulary."""

    test: Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class WordConcept(Concept):
    """A function of the word so far: lower-case letters from the word's first token to this one.

    So it never looks ahead, and a word in several tokens is known at its last: ` gir`, `affe` is an animal at `affe`.
    """

    test: Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Lexicon(Concept):
    """The word so far (as above) is one of a list."""

    words: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class RowConcept(Concept):
    """A function of the text around: computed block by block."""

    label: Callable[[Reading], Bools]  # → [rows]
