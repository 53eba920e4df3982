"""Gradients of the losses of members of one width: one `vmap` for several, a plain call for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from .architecture import Aux, Params, Step, Trained
from .coder import Coder, Dense


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the losses of some members are taken of; `dead` and `hyper` have the members on axis 0."""

    x: Tensor  # [B, d]
    target: Tensor  # [B, out]
    dead: Tensor  # [members, n] bool
    hyper: dict[str, Tensor]  # [members] each
    progress: Tensor  # 0-d


def gradients(
    architecture: Trained, params: Params, given: Given, coder: Coder, *, compiled: bool = False
) -> tuple[Params, Tensor, Aux]:
    """Gradients (none of buffers), losses and aux, each with the members on axis 0; no second forward pass.

    `compiled`: by torch.compile, where the coder is dense.
    """
    moved = {name: p for name, p in params.items() if name not in architecture.buffers}
    still = {name: p for name, p in params.items() if name in architecture.buffers}
    stacked = (moved, still, given.dead, given.hyper)
    shared = (given.x, given.target, given.progress)
    if compiled and isinstance(coder, Dense):
        return _by_compiled_code(architecture, coder, stacked, shared)
    if len(given.dead) > 1:
        grads, (value, aux) = _vmapped(architecture, coder)(*stacked, *shared)
        return grads, value, aux
    # The same function of the only member: no batched matrix products, no graph of the backward pass.
    moved, still, dead, hyper = _each(stacked, lambda t: t.detach()[0])
    leaves = {name: p.requires_grad_() for name, p in moved.items()}
    value, aux = _loss(architecture, coder)(leaves, still, dead, hyper, *shared)
    found = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    grads = {name: g[None] for name, g in zip(leaves, found, strict=True)}
    return grads, value.detach()[None], _each(aux, lambda t: t.detach()[None])


def _loss(architecture: Trained, coder: Coder) -> Callable[..., tuple[Tensor, Aux]]:
    def loss(
        moved: Params, still: Params, dead: Tensor, hyper: Params, x: Tensor, target: Tensor, progress: Tensor
    ) -> tuple[Tensor, Aux]:
        step = Step(x=x, target=target, dead=dead, progress=progress, coder=coder)
        return architecture.loss({**moved, **still}, step, hyper)

    return loss


def _vmapped(architecture: Trained, coder: Coder) -> Callable[..., Any]:
    return vmap(grad_and_value(_loss(architecture, coder), has_aux=True), in_dims=(0, 0, 0, 0, None, None, None))


@cache
def _compiled(architecture: Trained, coder: Coder) -> Callable[..., Any]:
    # Whole graphs of fixed shapes: a fallback to plain torch half-way would give other bits when resuming.
    return torch.compile(_vmapped(architecture, coder), fullgraph=True, dynamic=False)


def _by_compiled_code(
    architecture: Trained, coder: Coder, stacked: tuple[Any, ...], shared: tuple[Tensor, ...]
) -> tuple[Params, Tensor, Aux]:
    from torch._dynamo.exc import TorchDynamoException

    try:
        grads, (value, aux) = _compiled(architecture, coder)(*stacked, *shared)
    except TorchDynamoException as error:
        raise ValueError(
            f"torch.compile cannot compile a step of {architecture.name!r} ({type(error).__name__}); "
            "train it without compiling"
        ) from error
    return grads, value, aux


def _each(tree: Any, change: Any) -> Any:
    """The same tuples and mappings with every tensor changed."""
    if isinstance(tree, tuple):
        return tuple(_each(branch, change) for branch in tree)
    if isinstance(tree, dict):
        return {name: _each(branch, change) for name, branch in tree.items()}
    return change(tree)
