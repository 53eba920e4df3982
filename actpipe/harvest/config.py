"""What a harvest is asked to do; one flag of `actpipe harvest` for each field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from actpipe.errors import Misuse
from actpipe.places import STORE

StoreDtype = Literal["bfloat16", "float16", "float32"]
ModelDtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class HarvestConfig:
    model: Annotated[str, "smollm2, a folder written by save_pretrained, or a Hugging Face name."] = "smollm2"
    dataset: Annotated[str, "reviews, a .txt or .jsonl file, a folder of them, or a Hugging Face dataset."] = "reviews"
    hook: Annotated[
        tuple[str, ...],
        "TransformerLens name or wildcard; repeat it for several in one pass. "
        "Default: residual stream and MLP a third of the way up.",
    ] = ()
    tokens: Annotated[int, "How many tokens to harvest (500k, 2M, 1e6)."] = 200_000
    context: Annotated[int, "Tokens a sequence."] = 128
    batch_size: Annotated[int, "Sequences in one forward pass."] = 8
    dtype: Annotated[StoreDtype, "Number type on disk."] = "bfloat16"
    model_dtype: Annotated[ModelDtype, "Number type of the forward pass; auto: bfloat16 where it is fast."] = "auto"
    device: Annotated[str | None, "Where the model runs, such as cpu or cuda:1. Default: a GPU if there is one."] = None
    text_field: Annotated[str, "Field that holds the text, in JSON Lines and Hugging Face datasets."] = "text"
    split: Annotated[str, "Split of a Hugging Face dataset."] = "train"
    revision: Annotated[str | None, "Revision of a Hugging Face dataset."] = None
    out: Annotated[Path, "Where the store goes."] = STORE
    max_disk: Annotated[int | None, "Refuse a store larger than this, such as 20GB."] = None
    overwrite: Annotated[bool, "Remove the store at --out first."] = False

    def __post_init__(self) -> None:
        if self.context < 2:
            raise Misuse(f"A context of {self.context} leaves no room for text beside its first token; use 2 or more.")
        for name, value in (("tokens", self.tokens), ("batch-size", self.batch_size)):
            if value < 1:
                raise Misuse(f"--{name} must be at least 1, not {value}.")

    @property
    def sequences(self) -> int:
        """Tokens are rounded up to whole sequences."""
        return -(-self.tokens // self.context)
