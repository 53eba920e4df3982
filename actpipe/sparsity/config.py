"""What `actpipe analyze --model` can be asked; one flag for each field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from actpipe.errors import Misuse

ModelDtype = Literal["auto", "float32", "bfloat16", "float16"]
Packing = Literal["auto", "stream", "documents"]
KtRule = Literal["any", "last"]
FORMAT, VERSION = "actpipe-sparsity", 1  # of sparsity.json
TRAINED, UNTRAINED = "trained", "untrained"  # the arms
ALL = "all"  # the name of all tasks together


@dataclass(frozen=True, kw_only=True)
class SparsityConfig:
    model: Annotated[str, "Measure the sparsity of this model: smollm2, a folder, or a Hugging Face name."]
    out: Annotated[Path, "Folder of the report."]
    dataset: Annotated[
        str | None, "Text to measure on: reviews (the default), a file, a folder, - or a Hugging Face dataset."
    ] = None
    task: Annotated[tuple[str, ...], "A text with a name, measured for itself too; repeat it.", "NAME=DATASET"] = ()
    text_field: Annotated[str, "Field that holds the text, in tables, JSON Lines and Hugging Face datasets."] = "text"
    hook: Annotated[
        tuple[str, ...], "TransformerLens name or wildcard; repeat it. Default: behind the nonlinearity of every MLP."
    ] = ()
    tokens: Annotated[int, "How many tokens of each text to measure on (20k, 1M)."] = 20_000
    context: Annotated[int, "Tokens a sequence."] = 128
    packing: Annotated[
        Packing, "stream: documents end to end; documents: one a sequence, padded. auto: by the kind of model."
    ] = "auto"
    first: Annotated[str, "Token that opens every sequence: auto (the tokenizer's), none, or its text."] = "auto"
    separator: Annotated[str, "Token that closes every document: auto (the tokenizer's), none, or its text."] = "auto"
    sink_positions: Annotated[int, "Leading positions of a sequence that never count: attention sinks."] = 1
    eps: Annotated[
        tuple[float, ...], "Thresholds of |a|, in root mean squares of the token. Smooth units fire above the largest."
    ] = (0.01, 0.1, 1.0)
    untrained: Annotated[bool, "Measure the same architecture at its initialisation beside the model."] = True
    kt_words: Annotated[str | None, "KT-score: words, or parts of words, that make a sentence one of the topic."] = None
    kt_sentences: Annotated[
        Path | None, "KT-score: .txt with a sentence a line, or .jsonl. Default: sentences of the texts."
    ] = None
    kt_label: Annotated[str | None, "KT-score: true/false field of --kt-sentences, in place of --kt-words."] = None
    kt_rule: Annotated[KtRule, "KT-score: a unit is active on a sentence at any counted token, or at the last."] = "any"
    batch_size: Annotated[int | None, "Sequences in one forward pass. Default: 256 MB of activations."] = None
    model_dtype: Annotated[ModelDtype, "Number type of the forward pass; auto: bfloat16 where it is fast."] = "auto"
    device: Annotated[str | None, "Where the model runs, such as cpu or cuda:1. Default: a GPU if there is one."] = None
    seed: Annotated[int, "Draws the initialisation and the resampled documents."] = 0
    overwrite: Annotated[bool, "Measure again even when nothing changed."] = False

    def __post_init__(self) -> None:
        for name in ("tokens", "context", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise Misuse(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
        if self.sink_positions < 0:
            raise Misuse(f"--sink-positions must be at least 0, not {self.sink_positions}.")
        if not self.eps or min(self.eps) <= 0 or list(self.eps) != sorted(set(self.eps)):
            raise Misuse(f"--eps {','.join(f'{e:g}' for e in self.eps)} must be rising numbers above 0.")
        if not 0 <= self.seed < 2**31:
            raise Misuse(f"--seed {self.seed} is out of range; give a whole number from 0 to 2147483647.")
        self._check_kt()
        self.texts()

    def _check_kt(self) -> None:
        if self.kt_words is not None and self.kt_label is not None:
            raise Misuse("--kt-words and --kt-label both say which sentences are of the topic; give one.")
        if self.kt_label is not None and self.kt_sentences is None:
            raise Misuse(f"--kt-label {self.kt_label} names a field of --kt-sentences FILE.jsonl; give that file too.")
        if self.kt_sentences is not None and not self.asks_kt:
            raise Misuse("--kt-sentences needs --kt-words or --kt-label to say which sentences are of the topic.")
        if self.kt_words is not None and not self.words:
            raise Misuse(f"--kt-words {self.kt_words!r} holds no word; write them as scien,tech,research.")

    @property
    def asks_kt(self) -> bool:
        return self.kt_words is not None or self.kt_label is not None

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word.strip().lower() for word in (self.kt_words or "").split(",") if word.strip())

    @property
    def sequences(self) -> int:
        """Tokens are rounded up to whole sequences."""
        return -(-self.tokens // self.context)

    def texts(self) -> dict[str, str]:
        """{name of the task: what to open}, in the order given."""
        found: dict[str, str] = {}
        if self.dataset is not None or not self.task:
            dataset = self.dataset or "reviews"
            found[Path(dataset).stem if Path(dataset).exists() else dataset] = dataset
        for text in self.task:
            name, sign, dataset = text.partition("=")
            if not (name and sign and dataset):
                raise Misuse(f"--task {text!r} is not NAME=DATASET, such as reviews=reviews or notes=notes.jsonl.")
            if name in found or name == ALL:
                raise Misuse(f"--task {name!r} is the name of another text already; give it another one.")
            found[name] = dataset
        return found
