"""Classification as T5 does it: a text is read, the word for its class is said. The dataset has a field for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from actpipe.pretraining.texts import Examples, Texts, Vocabulary

from .pairs import batch_of_pairs
from .task import PAD, Batch, Reads, Task


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    name: ClassVar[str] = "classification"
    reads: ClassVar[Reads] = "encoder-decoder"

    label: str = "label"
    """Field of the word for the class."""

    def columns(self, text_field: str) -> tuple[str, ...]:
        return text_field, self.label

    def special_tokens(self) -> tuple[str, ...]:
        return (PAD,)

    def n_examples(self, texts: Texts, context: int) -> int:
        return len(texts)

    def batch(self, texts: Texts, examples: Examples, vocabulary: Vocabulary, *, context: int) -> Batch:
        return batch_of_pairs(texts, examples, vocabulary, context=context)
