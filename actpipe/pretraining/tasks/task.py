"""What a model is trained on: tokenised texts → batches.

A task is a frozen dataclass whose fields are its options. It never sees a step or a process: a batch is a pure function
of the texts and of which examples are asked for, so the reader's state is one integer, gradient accumulation and
several processes cut the same batch in other places, and a resumed training reads on where it stopped.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeAlias

from torch import Tensor

from actpipe.errors import Misuse
from actpipe.pretraining.texts import Examples, Texts, Vocabulary

Batch: TypeAlias = dict[str, Tensor]
Reads: TypeAlias = Literal["decoder", "encoder-decoder"]

IGNORED = -100  # a label that does not count
PAD = "<pad>"


class Task(ABC):
    """Registered in `actpipe.pretraining.tasks`; the name is what `--task` takes.

    `decoder` batches have "input_ids" and "labels" [B, T], labels already shifted: labels[:, t] is the token after
    input_ids[:, t]. `encoder-decoder` batches have "input_ids", "attention_mask" (1 at tokens that are not padding)
    [B, S], "decoder_input_ids" and "labels" [B, T], the decoder opened by `<pad>` as T5 does it. All are int64.
    """

    name: ClassVar[str]
    reads: ClassVar[Reads]

    def columns(self, text_field: str) -> tuple[str, ...]:
        """Fields of the dataset that hold the texts of a document, in the order of the parts of `Texts`."""
        return (text_field,)

    def special_tokens(self) -> tuple[str, ...]:
        """Tokens beside `<|endoftext|>` that the vocabulary must have; a tokenizer trained here gets them."""
        return ()

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Task:
        """From what a command line says; Misuse for a field that this task does not have or a value it cannot take."""
        known = {field.name: str(field.type) for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(fields.keys() - known.keys()):
            names = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise Misuse(f"The task {cls.name} has no field {unknown[0]!r}; {names}.")
        return cls(**{name: _typed(cls.name, name, known[name], value) for name, value in fields.items()})

    @abstractmethod
    def n_examples(self, texts: Texts, context: int) -> int:
        """Examples in one pass over the texts."""

    @abstractmethod
    def batch(self, texts: Texts, examples: Examples, vocabulary: Vocabulary, *, context: int) -> Batch:
        """No sequence is longer than `context`, which is what the model reads at most."""


_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": lambda value: _TRUTHS[value.lower()],
}


def _typed(task: str, field: str, kind: str, value: str) -> Any:
    try:
        return _READERS[kind](value)
    except (ValueError, KeyError):
        raise Misuse(f"{field} of {task} is {value!r}; it takes {kind.replace('bool', 'true or false')}.") from None
