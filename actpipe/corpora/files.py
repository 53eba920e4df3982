"""Documents from one local file, or a folder of several kinds in the order of their names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from actpipe.corpora.corpus import Corpus
from actpipe.errors import Missing

from .formats import SUFFIXES, documents_of


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
            yield from documents_of(file, self.text_field)

    def fingerprint(self) -> str:
        return digest_of(self._files(), self.path, self.text_field)

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        # Hidden files are the belongings of programs (.git, .ipynb_checkpoints), not of the reader.
        found = sorted(
            file
            for file in self.path.rglob("*")
            if file.name.endswith(SUFFIXES)
            and file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(self.path).parts)
        )
        if not found:
            raise Missing(f"The folder {self.path} holds no file ending in {', '.join(SUFFIXES)}.")
        return found


def digest_of(files: Iterable[Path], folder: Path, text_field: str) -> str:
    """SHA-256 over the files' names below `folder` and their bytes, and the field that is read."""
    digest = hashlib.sha256(text_field.encode())
    for file in files:
        digest.update((file.name if file == folder else file.relative_to(folder).as_posix()).encode())
        with open(file, "rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()
