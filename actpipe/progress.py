"""How a stage says how far it is, without knowing whether anybody watches.

A stage takes a `Progress` and opens one bar for each long part. The command line passes one that draws on stderr
(`cli/progress.py`); everything else gets `silent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    def advance(self, amount: float, note: str = "") -> None:
        """Add to the amount done; `note` (a short text such as `L0 38`) stands beside the bar until the next one."""

    def show(self, table: Sequence[Sequence[str]]) -> None:
        """Rows of a table that stands below the bar until the next one; the first row is its head."""


class Progress(Protocol):
    def bar(self, title: str, total: float | None, unit: str, done: float = 0) -> AbstractContextManager[Bar]:
        """A bar counting from `done` (work of an earlier run) to `total` in `unit`s."""

    def say(self, text: str) -> None:
        """One line that stays, for a decision the user should know of."""


class _SilentBar:
    def advance(self, amount: float, note: str = "") -> None:
        pass

    def show(self, table: Sequence[Sequence[str]]) -> None:
        pass


class _Silent:
    @contextmanager
    def bar(self, title: str, total: float | None, unit: str, done: float = 0) -> Iterator[Bar]:
        yield _SilentBar()

    def say(self, text: str) -> None:
        pass


silent: Progress = _Silent()
