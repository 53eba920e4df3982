"""Gradients of the losses of members of one width: one `vmap` for several, a plain call for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from .architecture import Aux, Params, Step, Trained
from .coder import Coder


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the losses of some members are taken of; `dead` and `hyper` have the members on axis 0."""

    x: Tensor  # [B, d]
    target: Tensor  # [B, out]
    dead: Tensor  # [members, n] bool
    hyper: dict[str, Tensor]  # [members] each
    progress: Tensor  # 0-d


def gradients(architecture: Trained, params: Params, given: Given, coder: Coder) -> tuple[Params, Tensor, Aux]:
    """Gradients (none of buffers), losses and aux, each with the members on axis 0; no second forward pass."""

    def loss(moved: Params, still: Params, dead: Tensor, hyper: dict[str, Tensor]) -> tuple[Tensor, Aux]:
        step = Step(x=given.x, target=given.target, dead=dead, progress=given.progress, coder=coder)
        return architecture.loss({**moved, **still}, step, hyper)

    moved = {name: p for name, p in params.items() if name not in architecture.buffers}
    still = {name: p for name, p in params.items() if name in architecture.buffers}
    stacked = (moved, still, given.dead, given.hyper)
    if len(given.dead) > 1:
        grads, (value, aux) = vmap(grad_and_value(loss, has_aux=True))(*stacked)
        return grads, value, aux
    # The same function of the only member: no batched matrix products, no graph of the backward pass.
    moved, still, dead, hyper = _each(stacked, lambda t: t.detach()[0])
    leaves = {name: p.requires_grad_() for name, p in moved.items()}
    value, aux = loss(leaves, still, dead, hyper)
    found = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    grads = {name: g[None] for name, g in zip(leaves, found, strict=True)}
    return grads, value.detach()[None], _each(aux, lambda t: t.detach()[None])


def _each(tree: Any, change: Any) -> Any:
    """The same tuples and mappings with every tensor changed."""
    if isinstance(tree, tuple):
        return tuple(_each(branch, change) for branch in tree)
    if isinstance(tree, dict):
        return {name: _each(branch, change) for name, branch in tree.items()}
    return change(tree)
