"""The dataset of a task: one corpus for each column, read side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actpipe.corpora import Corpus, open_corpus
from actpipe.corpora.standard_input import NAME as STANDARD_INPUT
from actpipe.errors import Misuse

from .config import TrainLMConfig
from .tasks import Task

LOCAL_KINDS = ("files", "saved", "reviews", "factorlang")  # quickly read twice


@dataclass(frozen=True)
class Source:
    columns: tuple[str, ...]
    corpora: tuple[Corpus, ...]

    @classmethod
    def of(cls, config: TrainLMConfig, task: Task) -> Source:
        columns = task.columns(config.text_field)
        if len(columns) > 1 and config.dataset == STANDARD_INPUT:
            raise Misuse(
                f"The task {task.name} reads {' and '.join(columns)} and standard input is read once; name a file."
            )
        corpora = tuple(
            open_corpus(
                config.dataset,
                text_field=column,
                split=config.split,
                revision=config.revision,
                configuration=config.dataset_config,
            )
            for column in columns
        )
        return cls(columns, corpora)

    @property
    def is_local(self) -> bool:
        return self.corpora[0].kind in LOCAL_KINDS

    def documents(self) -> Iterator[tuple[str, ...]]:
        """The texts of each document, one for each column."""
        try:
            yield from zip(*(corpus.documents() for corpus in self.corpora), strict=True)
        except ValueError as error:
            if "zip()" not in str(error):
                raise
            raise Misuse(f"{self.corpora[0].name} has not as many of {' as of '.join(self.columns)}.") from None

    def fingerprint(self) -> str:
        return hashlib.sha256("|".join(corpus.fingerprint() for corpus in self.corpora).encode()).hexdigest()

    def described(self) -> dict[str, Any]:
        """The same wherever the text lies; what it holds is in the fingerprint."""
        corpus = self.corpora[0]
        name = Path(corpus.name).resolve().name if corpus.kind in ("files", "saved") else corpus.name
        return {
            "name": name,
            "kind": corpus.kind,
            "columns": list(self.columns),
            "fingerprint": self.fingerprint(),
        }
