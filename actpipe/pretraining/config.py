"""What the training of a language model is asked to do; one flag of `actpipe train-lm` for each field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from actpipe.errors import Misuse
from actpipe.places import OUT

Dtype = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class TrainLMConfig:
    architecture: Annotated[str, "What is trained (`actpipe info --language-models`)."] = "gpt"
    set: Annotated[tuple[str, ...], "One value of any field of the architecture; repeat it.", "FIELD=VALUE"] = ()
    task: Annotated[str | None, "What it is trained on. Default: by the kind of architecture."] = None
    task_set: Annotated[tuple[str, ...], "One value of any field of the task; repeat it.", "FIELD=VALUE"] = ()
    dataset: Annotated[
        str, "reviews, a file (.txt, .jsonl, .parquet), a folder of them, - or a Hugging Face dataset."
    ] = "reviews"
    dataset_config: Annotated[str | None, "Configuration of a Hugging Face dataset."] = None
    split: Annotated[str, "Split of a Hugging Face dataset."] = "train"
    revision: Annotated[str | None, "Revision of a Hugging Face dataset."] = None
    text_field: Annotated[str, "Field that holds the text, in tables and JSON Lines."] = "text"
    start_from: Annotated[
        str | None, "Model whose weights, sizes and tokenizer the training begins with. Default: drawn ones."
    ] = None
    tokenizer: Annotated[str | None, "Folder or name of a tokenizer. Default: one is trained on the dataset."] = None
    vocabulary: Annotated[int, "Tokens of the tokenizer that is trained."] = 4096
    tokens: Annotated[int | None, "Tokens to train on (35M, 1e9). Default: the training text once."] = None
    context: Annotated[int, "Tokens a sequence; the model reads no more."] = 256
    batch_size: Annotated[int, "Sequences a step, over all processes."] = 32
    micro_batch: Annotated[
        int | None, "Sequences in one pass; gradients of several add up to a step. Default: all."
    ] = None
    lr: Annotated[float, "Learning rate of AdamW, after warm-up."] = 1e-3
    lr_floor: Annotated[float, "Share of --lr to which the cosine falls."] = 0.1
    warmup: Annotated[float, "Share of the steps in which the rate rises."] = 0.02
    weight_decay: Annotated[float, "Of weights with two or more dimensions."] = 0.1
    clip: Annotated[float, "Norm to which gradients are clipped; 0: not."] = 1.0
    validation_share: Annotated[float, "Of the documents, by the hash of their text; never trained on."] = 0.01
    validation_tokens: Annotated[int, "Tokens of the validation curve; the final loss is over a million."] = 65_536
    validate_every: Annotated[int | None, "Steps between validations. Default: a twentieth of all."] = None
    seed: Annotated[int, "Decides first weights and the order of the text."] = 0
    device: Annotated[str | None, "Where to train, such as cpu or cuda:1. Default: a GPU if there is one."] = None
    dtype: Annotated[Dtype, "Of matrix products; weights are float32. auto: bfloat16 where it is fast."] = "auto"
    compile: bool | None = None  # None: where it is faster; the command line has --compile/--no-compile
    tokens_cache: Annotated[Path | None, "Where tokenised text is kept. Default: tokens/ beside --out."] = None
    out: Annotated[Path, "Where the model goes."] = OUT / "lm"
    overwrite: Annotated[bool, "Remove the model at --out first."] = False

    def __post_init__(self) -> None:
        whole = ("vocabulary", "tokens", "context", "batch_size", "micro_batch", "validation_tokens", "validate_every")
        for name in whole:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise Misuse(f"--{_dashed(name)} must be at least 1, not {value}.")
        for name in ("lr_floor", "warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise Misuse(f"--{_dashed(name)} is a share, from 0 to 1, not {getattr(self, name):g}.")
        if not 0 < self.validation_share < 1:
            raise Misuse(f"--validation-share is a share between 0 and 1, not {self.validation_share:g}.")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise Misuse(f"--lr must be positive and finite, not {self.lr:g}.")
        for name in ("weight_decay", "clip"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise Misuse(f"--{_dashed(name)} must be finite and not negative, not {getattr(self, name):g}.")
        if not 0 <= self.seed < 2**31:
            raise Misuse(f"--seed must be from 0 to 2147483647, not {self.seed}.")

    @property
    def cache(self) -> Path:
        return self.tokens_cache or self.out.parent / "tokens"

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.context


def _dashed(name: str) -> str:
    return name.replace("_", "-")
