"""Tokenised text on the disk: a folder of flat token files that are mapped, not read, and one JSON header.

    header.json                 format, tokenizer, source, share of validation, counts
    train.tokens                all tokens of the documents to train on, end to end, little-endian uint16 or uint32
    train.bounds.npy            where the parts of each document begin and end (`Texts.bounds`)
    validation.tokens, validation.bounds.npy

A document belongs to validation when the hash of its text lies below the share asked for, so it does in every dataset
that holds it. docs/reference/lm-run-format.md is the law.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Damaged
from actpipe.files import write_json

from .texts import Integers, Texts

FORMAT, VERSION = "actpipe-tokens", 1
TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True, eq=False)
class TokenFolder:
    path: Path
    header: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> TokenFolder:
        try:
            header = json.loads((path / "header.json").read_text(encoding="utf-8"))
            found = header["format"], header["version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Damaged(f"The tokens in {path} cannot be read ({error}). Remove that folder.") from None
        if found != (FORMAT, VERSION):
            raise Damaged(f"{path} is {found[0]} version {found[1]}; this actpipe reads version {VERSION}. Remove it.")
        return cls(path, header)

    @property
    def fingerprint(self) -> str:
        """Of what a training reads: text, tokenizer, columns and split."""
        return str(self.header["fingerprint"])

    def tokens(self, split: str) -> int:
        return int(self.header["splits"][split]["tokens"])

    def texts(self, split: str) -> Texts:
        described = self.header["splits"][split]
        file = self.path / f"{split}.tokens"
        dtype = np.dtype(self.header["dtype"])
        size = file.stat().st_size if file.exists() else -1
        if size != described["tokens"] * dtype.itemsize:
            raise Damaged(f"{file} is not whole ({size} bytes). Remove the folder {self.path} and run again.")
        tokens = np.memmap(file, dtype, "r") if size else np.zeros(0, dtype)
        bounds = np.load(self.path / f"{split}.bounds.npy", allow_pickle=False)
        return Texts(tokens, bounds)


def dtype_for(vocabulary: int) -> np.dtype[Any]:
    """The smallest that holds every token."""
    return np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")


def write_split(folder: Path, split: str, source: NDArray[Any], bounds: Integers) -> dict[str, int]:
    """Copy the documents at `bounds` of `source` into a file of their own; what the header says of it."""
    begins, ends = bounds[:, 0], bounds[:, -1]
    with open(folder / f"{split}.tokens", "wb") as file:
        for start, stop in _runs(begins, ends):
            file.write(source[start:stop].tobytes())
    lengths = ends - begins
    moved = bounds - begins[:, None] + (np.cumsum(lengths) - lengths)[:, None]
    np.save(folder / f"{split}.bounds.npy", moved.astype(np.int64), allow_pickle=False)
    return {"documents": len(bounds), "tokens": int(lengths.sum())}


def write_header(
    folder: Path, *, dtype: np.dtype[Any], fingerprint: str, splits: Mapping[str, Any], **more: Any
) -> None:
    write_json(
        folder / "header.json",
        {
            "format": FORMAT,
            "version": VERSION,
            "dtype": dtype.str,
            "fingerprint": fingerprint,
            "splits": splits,
            **more,
        },
    )


LONGEST_RUN = 1 << 24  # tokens copied at once


def _runs(begins: Integers, ends: Integers) -> list[tuple[int, int]]:
    """Documents that lie beside each other are copied together, in pieces of bounded size."""
    runs: list[tuple[int, int]] = []
    for start, stop in zip(begins.tolist(), ends.tolist(), strict=True):
        if runs and runs[-1][1] == start and stop - runs[-1][0] <= LONGEST_RUN:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return runs
