"""See, and if asked replace, the tensor that enters or leaves one native module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

Side = Literal["input", "output"]
See: TypeAlias = Callable[[Tensor], Tensor | None]


@contextmanager
def intercept(module: nn.Module, side: Side, see: See) -> Iterator[None]:
    """Inside the block `see` is given the tensor each time the module is called, and may answer with another.

    A call without a tensor on that side is not seen.
    """
    if side == "input":
        handle = module.register_forward_pre_hook(lambda _, args, kwargs: _before(args, kwargs, see), with_kwargs=True)
    else:
        handle = module.register_forward_hook(lambda _, args, value: _after(value, see))
    try:
        yield
    finally:
        handle.remove()


def _before(args: tuple[Any, ...], kwargs: dict[str, Any], see: See) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The hidden states are a module's first argument, by position or by their usual name."""
    value = args[0] if args else kwargs.get("hidden_states")
    new = see(value) if isinstance(value, Tensor) else None
    if new is None:
        return None
    return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})


def _after(value: Any, see: See) -> Any:
    """Attention modules return the hidden states first in a tuple."""
    first = value[0] if isinstance(value, tuple) and value else value
    new = see(first) if isinstance(first, Tensor) else None
    if new is None:
        return None
    return (new, *value[1:]) if isinstance(value, tuple) else new
