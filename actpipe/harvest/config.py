"""What a harvest is asked to do; one flag of `actpipe harvest` for each field."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from actpipe.errors import Misuse
from actpipe.places import STORE, Place

StoreDtype = Literal["bfloat16", "float16", "float32", "int8"]
Packing = Literal["auto", "stream", "documents"]
ModelDtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class HarvestConfig:
    model: Annotated[
        str,
        "smollm2, actpipe:NAME, a folder of save_pretrained, or a Hugging Face name; with @init behind it: untrained.",
    ] = "smollm2"
    dataset: Annotated[
        str,
        "reviews, actpipe:factorlang, a file (.txt, .jsonl, .parquet), a folder of them, - for standard input, or a "
        "Hugging Face dataset.",
    ] = "reviews"
    dataset_config: Annotated[str | None, "Configuration of a Hugging Face dataset."] = None
    split: Annotated[str, "Split of a Hugging Face dataset."] = "train"
    revision: Annotated[str | None, "Revision of a Hugging Face dataset."] = None
    streaming: Annotated[bool, "Read a Hugging Face dataset as it arrives, or download all of it first."] = True
    text_field: Annotated[str, "Field that holds the text, in tables, JSON Lines and Hugging Face datasets."] = "text"
    hook: Annotated[
        tuple[str, ...],
        "TransformerLens name or wildcard; repeat it for several in one pass. "
        "Default: residual stream and MLP a third of the way up.",
    ] = ()
    tokens: Annotated[int, "How many tokens to harvest (500k, 2M, 1e6)."] = 200_000
    context: Annotated[int, "Tokens a sequence."] = 128
    packing: Annotated[
        Packing, "stream: documents end to end; documents: one a sequence, padded. auto: by the kind of model."
    ] = "auto"
    first: Annotated[str, "Token that opens every sequence: auto (the tokenizer's), none, or its text."] = "auto"
    separator: Annotated[str, "Token that closes every document: auto (the tokenizer's), none, or its text."] = "auto"
    sink_positions: Annotated[int, "Leading positions of a sequence that never count: attention sinks."] = 1
    batch_size: Annotated[int | None, "Sequences in one forward pass. Default: the fastest of a short trial."] = None
    dtype: Annotated[StoreDtype, "Number type on disk; int8 has a scale for each row and channel."] = "bfloat16"
    codec: Annotated[str, "Lossless compression on disk; `actpipe info --codecs` lists them."] = "none"
    model_dtype: Annotated[ModelDtype, "Number type of the forward pass; auto: bfloat16 where it is fast."] = "auto"
    device: Annotated[str | None, "Where the model runs, such as cpu or cuda:1. Default: a GPU if there is one."] = None
    workers: Annotated[int | None, "Processes on this machine that share the slabs, under Dask."] = None
    scheduler: Annotated[str | None, "Address of a Dask scheduler whose workers share the slabs."] = None
    out: Annotated[Place, "Where the store goes: a folder, or a URL such as s3://bucket/store.zarr."] = STORE
    max_disk: Annotated[int | None, "Refuse a store larger than this, such as 20GB."] = None
    overwrite: Annotated[bool, "Remove the store at --out first."] = False

    def __post_init__(self) -> None:
        whole = ("tokens", "context", "batch_size", "workers")
        for name, value in ((name.replace("_", "-"), getattr(self, name)) for name in whole):
            if value is not None and value < 1:
                raise Misuse(f"--{name} must be at least 1, not {value}.")
        if self.sink_positions < 0:
            raise Misuse(f"--sink-positions must be at least 0, not {self.sink_positions}.")
        if self.scheduler is not None and not re.fullmatch(r"([a-z]+://)?[^\s/]+:\d+/?", self.scheduler):
            raise Misuse(f"--scheduler {self.scheduler!r} is no address; write it as tcp://HOST:8786.")
        if self.workers is not None and self.scheduler is not None:
            raise Misuse("--workers starts processes here and --scheduler names workers elsewhere; give one of them.")

    @property
    def sequences(self) -> int:
        """Tokens are rounded up to whole sequences."""
        return -(-self.tokens // self.context)
