"""FactorLang as a dataset: text whose every word's factors are known (`actpipe.factorlang`).

    actpipe:factorlang                              documents 0 to 99,999 of seed 0
    actpipe:factorlang,seed=3,documents=1000        others
    actpipe:factorlang,start=100000,documents=1000  documents that the first never reaches, to validate on

Commas and not ?…&…, because a shell would read those as its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from actpipe.corpora.corpus import Corpus
from actpipe.errors import Misuse

if TYPE_CHECKING:
    from actpipe.factorlang import Document

NAME = "actpipe:factorlang"


@dataclass(frozen=True, kw_only=True)
class FactorLang(Corpus):
    kind: ClassVar[str] = "factorlang"

    seed: int = 0
    start: int = 0  # number of the first document
    n_documents: int = 100_000  # 25 million words
    words: int = 255  # of a document; with the end-of-text token 256

    def __post_init__(self) -> None:
        for option, value, least in (
            ("seed", self.seed, 0),
            ("start", self.start, 0),
            ("documents", self.n_documents, 1),
            ("words", self.words, 1),
        ):
            if not least <= value < 2**63:
                raise Misuse(f"{NAME} has no {option}={value}; give {least} or more.")

    @classmethod
    def named(cls, name: str, split: str = "train") -> Self:
        """From what a user types, or a store records."""
        kind, *options = name.split(",")
        if kind != NAME:
            raise Misuse(f"There is no dataset {name!r} in actpipe; it has {NAME}.")
        if split != "train":
            raise Misuse(f"{NAME} has no split {split!r}; take other documents, as in {NAME},start=100000.")
        fields: dict[str, int] = {}
        for option in options:
            key, _, value = option.partition("=")
            if key not in _OPTIONS or not value.isdecimal():
                raise Misuse(f"{NAME} has no {option!r}; it has {', '.join(f'{known}=N' for known in _OPTIONS)}.")
            if _OPTIONS[key] in fields:
                raise Misuse(f"{name!r} gives {key} more than once.")
            fields[_OPTIONS[key]] = int(value)
        return cls(**fields)

    @property
    def name(self) -> str:
        chosen = [
            f",{option}={getattr(self, field)}"
            for option, field in _OPTIONS.items()
            if getattr(self, field) != getattr(type(self), field)
        ]
        return NAME + "".join(chosen)

    def documents(self) -> Iterator[str]:
        for document in self.made(0, self.n_documents):
            yield document.text

    def made(self, begin: int, end: int) -> Iterator[Document]:
        """Documents by their places in the dataset, with all that is known of them."""
        from actpipe.factorlang import Language, documents

        end = min(end, self.n_documents)
        yield from documents(self.seed, self.start + begin, self.start + end, language=Language(words=self.words))

    def fingerprint(self) -> str:
        from actpipe.factorlang import VERSION

        fields = {**dataclasses.asdict(self), "version": VERSION}
        return hashlib.sha256(f"{NAME} {sorted(fields.items())}".encode()).hexdigest()


# How they are typed → the fields.
_OPTIONS = {"seed": "seed", "start": "start", "documents": "n_documents", "words": "words"}
