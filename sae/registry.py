"""Name → architecture. An entry is a file in `architectures/` and one line in that folder's `__init__`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .architecture import RESERVED, Architecture

A = TypeVar("A", bound=Architecture)
_registered: dict[str, type[Architecture]] = {}


def register(name: str) -> Callable[[type[A]], type[A]]:
    def add(cls: type[A]) -> type[A]:
        if name in _registered:
            raise ValueError(
                f"two architectures are called {name!r}: {_registered[name].__qualname__} and {cls.__qualname__}"
            )
        if taken := RESERVED & set(cls.swept):
            raise ValueError(f"architecture {name!r} sweeps {sorted(taken)}, which name settings of the optimizer")
        cls.name = name
        _registered[name] = cls
        return cls

    return add


def get(name: str) -> type[Architecture]:
    if name not in _registered:
        raise ValueError(f"there is no architecture {name!r}; known: {', '.join(names())}")
    return _registered[name]


def names() -> list[str]:
    return sorted(_registered)
