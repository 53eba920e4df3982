"""Documents from local files: plain text, JSON Lines, or a folder of either.

A text file's documents are its paragraphs (separated by blank lines), because one file is often one book or one dump;
a JSON Lines file's documents are the values of its text field. A folder is its files in the order of their names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from actpipe.corpora.corpus import Corpus
from actpipe.errors import Missing, Misuse

SUFFIXES = (".txt", ".md", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class Files(Corpus):
    kind: ClassVar[str] = "files"

    path: Path
    text_field: str = "text"

    @property
    def name(self) -> str:
        return str(self.path)

    def documents(self) -> Iterator[str]:
        for file in self._files():
            yield from _records(file, self.text_field) if file.suffix == ".jsonl" else _paragraphs(file)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.text_field.encode())
        for file in self._files():
            digest.update(file.name.encode())
            with open(file, "rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        return digest.hexdigest()

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        found = sorted(file for file in self.path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        if not found:
            raise Missing(f"The folder {self.path} holds no file ending in {', '.join(SUFFIXES)}.")
        return found


def _lines(file: Path) -> Iterator[str]:
    with open(file, encoding="utf-8-sig") as handle:  # -sig: a byte order mark is not text
        try:
            yield from handle
        except UnicodeDecodeError as error:
            raise Misuse(f"{file} is not UTF-8 text ({error.reason}). Convert it first.") from None


def _paragraphs(file: Path) -> Iterator[str]:
    lines: list[str] = []
    for line in _lines(file):
        if line.strip():
            lines.append(line)
        elif lines:
            yield "".join(lines).strip()
            lines = []
    if lines:
        yield "".join(lines).strip()


def _records(file: Path, text_field: str) -> Iterator[str]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise Misuse(f"{file}, line {number} is not JSON: {error.msg}.") from None
        if not isinstance(record, dict) or not isinstance(record.get(text_field), str):
            known = ", ".join(record) if isinstance(record, dict) else type(record).__name__
            raise Misuse(
                f"{file}, line {number} has no text in field {text_field!r} (it has {known}). Give --text-field."
            )
        # JSON can spell half a surrogate pair, which is no text and which no tokenizer takes.
        yield record[text_field].encode("utf-8", "replace").decode()
