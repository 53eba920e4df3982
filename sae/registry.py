"""Name → architecture. An entry is a file in `architectures/` and a line in that folder's `__init__`, or a plugin's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .architecture import RESERVED, Architecture
from .plugins import Registry

A = TypeVar("A", bound=Architecture)
_registered: Registry[type[Architecture]] = Registry("architectures")


def register(name: str) -> Callable[[type[A]], type[A]]:
    def add(cls: type[A]) -> type[A]:
        if taken := RESERVED & set(cls.swept):
            raise ValueError(f"architecture {name!r} sweeps {sorted(taken)}, which name settings of the optimizer")
        _registered.add(name, cls)
        cls.name = name
        return cls

    return add


def get(name: str) -> type[Architecture]:
    if name not in _registered:
        raise ValueError(f"there is no architecture {name!r}; known: {', '.join(names())}")
    return _registered[name]


def names() -> list[str]:
    return sorted(_registered)
