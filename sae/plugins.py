"""Names that packages of others can add to.

Such a package names a module of its own under the entry point `actpipe.plugins`; importing the module registers what it
has. Nothing of it is imported before a name is looked up, so that the module may import everything from here.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

GROUP = "actpipe.plugins"
T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Name → entry, in the order of registration: ours, then those of plugins."""

    def __init__(self, plural: str, ours: Mapping[str, T] | None = None) -> None:
        self._plural = plural  # of what it holds, for sentences
        self._entries = dict(ours or {})

    def add(self, name: str, entry: T) -> None:
        if name in self._entries:
            raise ValueError(f"two {self._plural} are called {name!r}: {self._entries[name]} and {entry}")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        load_plugins()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(self._entries)

    def __len__(self) -> int:
        load_plugins()
        return len(self._entries)


def plugins() -> list[EntryPoint]:
    """Of all installed packages, in the order of their names."""
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def load_plugins() -> None:
    """Import each once. One that cannot be imported is named and left out: the others do not depend on it."""
    waiting = _waiting()
    while waiting:
        point = waiting.pop()  # before it is loaded, which may look up names
        try:
            point.load()
        except Exception as error:
            warnings.warn(
                f"the plugin {point.name!r} ({point.value}) cannot be imported ({type(error).__name__}: {error}); "
                "mend or uninstall its package. What it adds is unknown here",
                stacklevel=2,
            )


@functools.cache
def _waiting() -> list[EntryPoint]:
    return plugins()[::-1]
