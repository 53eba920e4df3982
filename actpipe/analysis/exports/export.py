"""The contract of an export: a finished report (or the run it is of) in, a folder that another tool reads out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from actpipe.progress import Progress


class Export(ABC):
    name: ClassVar[str]
    text: ClassVar[str]  # a sentence for the listing
    source: ClassVar[str]  # what it reads: "report" or "run"

    @abstractmethod
    def write(self, source: Path, folder: Path, members: tuple[str, ...], progress: Progress) -> list[str]:
        """Into the empty `folder`; `members` of the source, all when empty. Returns notes: what could not be said."""
