"""Translation: a text in one language is read, the same in another is said. The dataset has a field for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from actpipe.pretraining.texts import Examples, Texts, Vocabulary

from .pairs import batch_of_pairs
from .task import PAD, Batch, Reads, Task


@dataclass(frozen=True, kw_only=True)
class Translation(Task):
    name: ClassVar[str] = "translation"
    reads: ClassVar[Reads] = "encoder-decoder"

    source: str = "source"
    """Field of the text that is read."""
    target: str = "target"
    """Field of its translation."""

    def columns(self, text_field: str) -> tuple[str, ...]:
        return self.source, self.target

    def special_tokens(self) -> tuple[str, ...]:
        return (PAD,)

    def n_examples(self, texts: Texts, context: int) -> int:
        return len(texts)

    def batch(self, texts: Texts, examples: Examples, vocabulary: Vocabulary, *, context: int) -> Batch:
        return batch_of_pairs(texts, examples, vocabulary, context=context)
