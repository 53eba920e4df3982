"""tokens → activations: hook the native modules behind the sites and stop after the last one has fired.

Nothing is computed that is not asked for: no layer above the last site, no unembedding, no cache of keys and values,
and the model's own fast attention stays in place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from actpipe.errors import Failure, Misuse
from actpipe.harvest.sites import Side, Site

Note: TypeAlias = Callable[[str, Tensor], None]


class _Enough(Exception):
    """Every site has been seen: not an error, it ends a forward pass whose rest nobody needs."""


def watch(module: nn.Module, hook: str, path: str, side: Side, note: Note) -> RemovableHandle:
    """Call `note(hook, value)` with the tensor that enters or leaves the module at `path`."""
    native = module.get_submodule(path)
    if side == "input":
        return native.register_forward_pre_hook(
            lambda _, args, kwargs: note(hook, entering(args, kwargs)), with_kwargs=True
        )
    return native.register_forward_hook(lambda _, args, value: note(hook, leaving(value)))


def entering(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states among a module's arguments: the first one, by position or by its usual name."""
    value = args[0] if args else kwargs.get("hidden_states")
    if not isinstance(value, Tensor):
        raise Failure(f"a module was called without a tensor to hook (arguments: {', '.join(kwargs) or 'none'}).")
    return value


def leaving(value: Any) -> Tensor:
    """The hidden states among a module's results: attention modules return them first in a tuple."""
    first = value[0] if isinstance(value, tuple) else value
    if not isinstance(first, Tensor):
        raise Failure(f"a hooked module returned a {type(first).__name__} where a tensor was expected.")
    return first


def measure_sites(
    chosen: dict[str, tuple[str, Side]], module: nn.Module, *, required: Collection[str] = ()
) -> tuple[Site, ...]:
    """Run the model on two sequences of three tokens to learn each site's width.

    A side that is not one row a token (token ids, rotary tables, whole outputs of the model) is no site: it is left
    out, or refused where it is among the `required` names.
    """
    seen: dict[str, int] = {}

    def look(hook: str, value: Any) -> None:
        first = value[0] if isinstance(value, tuple) and value else value
        if isinstance(first, Tensor) and first.is_floating_point() and first.dim() > 2 and first.shape[:2] == (2, 3):
            seen.setdefault(hook, first.shape[2:].numel())

    def looking(hook: str, path: str, side: Side) -> RemovableHandle:
        native = module.get_submodule(path)
        if side == "output":
            return native.register_forward_hook(lambda _, args, value: look(hook, value))
        return native.register_forward_pre_hook(
            lambda _, args, kwargs: look(hook, args or kwargs.get("hidden_states")), with_kwargs=True
        )

    handles = [looking(hook, path, side) for hook, (path, side) in chosen.items()]
    with torch.inference_mode():
        module(torch.zeros(2, 3, dtype=torch.long, device=next(module.parameters()).device), use_cache=False)
    for handle in handles:
        handle.remove()
    missing = [hook for hook in chosen if hook not in seen and (hook in required or not seen)]
    if missing:
        raise Misuse(f"The hook {missing[0]!r} does not hold one row for each token, so it cannot be harvested.")
    return tuple(Site(hook, path, side, seen[hook]) for hook, (path, side) in chosen.items() if hook in seen)


@contextmanager
def capture(module: nn.Module, sites: Sequence[Site]) -> Iterator[Callable[..., dict[str, Tensor]]]:
    """Yield `run(input_ids, **kwargs) → {hook: [batch, context, width]}`; the hooks are gone when the block ends.

    The values are the model's own tensors: copy what must outlive the next call.
    """
    taken: dict[str, Tensor] = {}

    def note(hook: str, value: Tensor) -> None:
        # Heads stay apart in some models ([batch, context, heads, width]); a row of the store is flat.
        taken[hook] = rearrange(value, "batch position ... -> batch position (...)")
        if len(taken) == len(sites):
            raise _Enough

    def run(input_ids: Tensor, **kwargs: Any) -> dict[str, Tensor]:
        taken.clear()
        try:
            with torch.inference_mode():
                module(input_ids, use_cache=False, **kwargs)
        except _Enough:
            return dict(taken)
        missing = [site.hook for site in sites if site.hook not in taken]
        raise Failure(f"the forward pass ended and {missing[0]} had not fired. Was the model changed after loading?")

    handles = [watch(module, site.hook, site.path, site.side, note) for site in sites]
    try:
        yield run
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def splice(module: nn.Module, site: Site, replace: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block the model continues with `replace(value)` in place of the tensor at `site`."""

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        new = replace(entering(args, kwargs))
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    def after(_: nn.Module, __: tuple[Any, ...], value: Any) -> Any:
        new = replace(leaving(value))
        return (new, *value[1:]) if isinstance(value, tuple) else new

    native = module.get_submodule(site.path)
    if site.side == "input":
        handle = native.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = native.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
