"""dataset → token files, once: the next run on the same text with the same tokenizer opens what is there."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actpipe.corpora.tokenising import END, tokenised
from actpipe.errors import Misuse
from actpipe.files import sync_tree
from actpipe.harvest.provenance import tokenizer_fingerprint
from actpipe.progress import Bar, Progress

from .source import Source
from .texts import Integers
from .token_files import TRAIN, VALIDATION, VERSION, TokenFolder, dtype_for, write_header, write_split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HASH_BITS = 64


def tokens_of(
    source: Source, tokenizer: PreTrainedTokenizerFast, *, end: int, share: float, cache: Path, progress: Progress
) -> TokenFolder:
    """The token files of this text in `cache`, written if they are not there."""
    described = {
        "version": VERSION,
        "source": source.described(),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "end": end,
        "validation_share": share,
    }
    fingerprint = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    target = cache / fingerprint[:16]
    if not target.exists():
        _write(target, source, tokenizer, described, fingerprint, progress)
    return TokenFolder.open(target)


def _write(
    target: Path,
    source: Source,
    tokenizer: PreTrainedTokenizerFast,
    described: dict[str, Any],
    fingerprint: str,
    progress: Progress,
) -> None:
    partial = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    try:
        dtype = dtype_for(len(tokenizer))
        hashes, bounds = _write_all(partial / "all", source, tokenizer, described["end"], dtype, progress)
        held_out = is_held_out(hashes, described["validation_share"])
        # A document with an empty part is no example of anything.
        whole = (np.diff(bounds, axis=1) > 0).all(axis=1)
        empty = not (partial / "all").stat().st_size  # which cannot be mapped
        tokens: NDArray[Any] = np.zeros(0, dtype) if empty else np.memmap(partial / "all", dtype, "r")
        splits = {
            name: write_split(partial, name, tokens, bounds[whole & chosen])
            for name, chosen in ((TRAIN, ~held_out), (VALIDATION, held_out))
        }
        del tokens
        (partial / "all").unlink()
        if not all(split["tokens"] for split in splits.values()):
            raise Misuse(
                f"{source.corpora[0].name} has {int(whole.sum())} documents with text; one is needed to train on and "
                "another for validation. Give more text, as several paragraphs or records."
            )
        write_header(partial, dtype=dtype, fingerprint=fingerprint, splits=splits, **described)
        sync_tree(partial)
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():  # another process wrote the same meanwhile
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_held_out(hashes: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """[documents]; where no hash lies below the share, the documents with the lowest one."""
    below = hashes < np.uint64(min(int(share * 2.0**HASH_BITS), 2**HASH_BITS - 1))
    return below if below.any() or not len(hashes) else hashes == hashes.min()


def _write_all(
    file: Path,
    source: Source,
    tokenizer: PreTrainedTokenizerFast,
    end: int,
    dtype: np.dtype[Any],
    progress: Progress,
) -> tuple[NDArray[np.uint64], Integers]:
    """All tokens in the order of the documents; hashes [documents] and bounds [documents, columns + 1]."""
    columns = len(source.columns)
    hashes: list[int] = []
    counts: list[Integers] = []  # of the parts that a run touches
    first_parts: list[int] = []
    with open(file, "wb") as written, progress.bar("Tokenising", characters_of(source, progress), "characters") as bar:
        for run in tokenised(_parts(source, hashes, bar), tokenizer):
            written.write(np.where(run.ids == END, end, run.ids).astype(dtype).tobytes())
            if len(run.doc):
                first_parts.append(int(run.doc[0]))
                counts.append(np.bincount(run.doc - run.doc[0]).astype(np.int64))
    lengths = np.zeros(len(hashes) * columns, np.int64)
    for first, count in zip(first_parts, counts, strict=True):
        lengths[first : first + len(count)] += count
    ends = np.cumsum(lengths).reshape(-1, columns)
    begins = (np.cumsum(lengths) - lengths).reshape(-1, columns)[:, :1]
    return np.array(hashes, np.uint64), np.concatenate([begins, ends], axis=1)


def _parts(source: Source, hashes: list[int], bar: Bar) -> Iterator[str]:
    for document in source.documents():
        digest = hashlib.sha256("\0".join(document).encode()).digest()
        hashes.append(int.from_bytes(digest[: HASH_BITS // 8], "big"))
        yield from document
        bar.advance(sum(map(len, document)))


def characters_of(source: Source, progress: Progress) -> int | None:
    """Of the whole dataset, where reading it twice is cheap beside tokenising it."""
    if not source.is_local:
        return None
    progress.say(f"Reading {source.corpora[0].name} to know its length.")
    return sum(len(text) for document in source.documents() for text in document)
