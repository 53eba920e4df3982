"""What passes the hooks of a network while it reads."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def captured(network: Any, inputs: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """{name: the value at that hook} of one forward pass; refuses a hook that is passed twice."""
    seen: dict[str, Tensor] = {}
    handles = [network.get_submodule(name).register_forward_hook(partial(_keep, seen, name)) for name in names]
    try:
        with torch.no_grad():
            network.logits(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _keep(seen: dict[str, Tensor], name: str, module: nn.Module, args: Any, value: Tensor) -> None:
    assert name not in seen, f"{name} was passed twice"
    seen[name] = value
