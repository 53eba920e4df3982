"""A page as what its reader does: write files, type commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """Fenced text. With a `title` it is a file that the reader writes under that name."""

    language: str
    title: str | None
    body: str

    def commands(self) -> Iterator[list[str]]:
        """The words of each line of a shell block; continued lines are joined, comments dropped."""
        for line in self.body.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def blocks(page: Path) -> list[Block]:
    found = []
    for opening, body in FENCE.findall(page.read_text(encoding="utf-8")):
        title = TITLE.search(opening)
        found.append(Block(opening.split(" ")[0], title[1] if title else None, body))
    return found


def typed(page: Path) -> list[list[str]]:
    """All commands of a page, in order."""
    return [
        words for block in blocks(page) if block.language == "bash" and not block.title for words in block.commands()
    ]
