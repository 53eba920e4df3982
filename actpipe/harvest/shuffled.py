"""A trained model whose weights have lost their places: what is left of a score when only norms and sizes are learned.

Every parameter keeps its entries and exchanges them among themselves: its mean, norm and histogram are those of
training, its meaning is gone. The norm-matched controls of Heap et al. (2501.17727), by permutation where they draw
from a Gaussian.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .model import LanguageModel


def shuffled(model: LanguageModel, *, seed: int, embeddings: bool) -> LanguageModel:
    """`embeddings`: also those of tokens and positions, and the way back to tokens."""
    module: Any = copy.deepcopy(model.module)
    kept = set() if embeddings else {id(parameter) for parameter in _of_tokens(module)}
    for name, parameter in module.named_parameters():
        if id(parameter) not in kept:
            flat = parameter.data.flatten()
            parameter.data = flat[_order(len(flat), f"{seed} {name}").to(flat.device)].reshape(parameter.shape)
    return replace(model, module=module)


def _of_tokens(module: Any) -> list[nn.Parameter]:
    tables = [each for each in module.modules() if isinstance(each, nn.Embedding)]
    head = module.get_output_embeddings()
    return [parameter for each in (*tables, *([head] if head is not None else [])) for parameter in each.parameters()]


def _order(n: int, key: str) -> torch.Tensor:
    """A permutation that depends on the key alone, and not on what was shuffled before."""
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:7]))
    return torch.randperm(n, generator=generator)
