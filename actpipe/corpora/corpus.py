"""Documents: what every source of text must offer.

A corpus yields its documents in one fixed order, so that which text lands in which row is a function of its name and
options alone. It never yields labels mixed into the text and never drops a document silently: a document without text
is the empty string, so a document's number is its place in the source.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar


class Corpus(ABC):
    """A named source of documents; subclasses are frozen dataclasses whose fields are their whole configuration."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def name(self) -> str:
        """What the user typed to get it."""

    @abstractmethod
    def documents(self) -> Iterator[str]:
        """The texts, in the fixed order."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes whenever the documents or their order change."""
