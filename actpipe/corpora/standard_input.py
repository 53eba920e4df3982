"""Documents from standard input, which is copied into a temporary file first.

The fingerprint is that of the bytes, so piping the same text again continues a harvest. JSON Lines where the first
character is `{`, else the paragraphs of a text.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from actpipe.corpora.corpus import Corpus

from .formats import documents_of

NAME = "-"


@dataclass(frozen=True, kw_only=True)
class StandardInput(Corpus):
    kind: ClassVar[str] = "stdin"

    text_field: str = "text"

    @property
    def name(self) -> str:
        return NAME

    def documents(self) -> Iterator[str]:
        # A generator, because it holds `self`, and the file lives as long as that.
        yield from documents_of(self._copied[0], self.text_field, called="Standard input")

    def fingerprint(self) -> str:
        return self._copied[1]

    @cached_property
    def _copied(self) -> tuple[Path, str]:
        """The temporary file, which goes when this object does, and the digest of its bytes and of the field read."""
        digest = hashlib.sha256(self.text_field.encode())
        file = tempfile.NamedTemporaryFile(prefix="actpipe-stdin-")  # noqa: SIM115, closed by the next line
        weakref.finalize(self, file.close)
        while block := sys.stdin.buffer.read(1 << 20):
            digest.update(block)
            file.write(block)
        file.flush()
        return Path(file.name), digest.hexdigest()
