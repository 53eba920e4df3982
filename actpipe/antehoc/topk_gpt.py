"""GPT whose MLP keeps k neurons of each token.

    x ← x + W_out Topₖ(ReLU(W_in LN x + b_in)) + b_out

Source: Top-k Transformer (Li, You et al. 2023, arXiv 2210.06313), which takes k = 128 of 3072 and loses little. The
selection is exact, or by a threshold from the row's mean and spread (Spark Transformer); actpipe/antehoc/topk.py has
the functions. k falls from all neurons over the first `warmup` of training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actpipe.antehoc.architecture import Architecture
from actpipe.antehoc.decoder import MLP, Block, Decoder, SelfAttention
from actpipe.antehoc.topk import exact_topk, k_at, shrunken_topk, statistical_topk
from actpipe.errors import Misuse

# Of the pre-activations [..., n], k: the activations.
SELECTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "exact": lambda u, k: exact_topk(torch.relu(u), k),
    "statistical": lambda u, k: torch.relu(statistical_topk(u, k)),
    "shrunken": lambda u, k: torch.relu(shrunken_topk(u, k)),
}


class Selection(nn.Module):
    """An activation with a k that training moves."""

    def __init__(self, name: str, k: int) -> None:
        super().__init__()
        self.select, self.k = SELECTIONS[name], k

    def forward(self, u: Tensor) -> Tensor:
        return self.select(u, self.k)


class TopkDecoder(Decoder):
    kind = "topk_neuron"

    def __init__(self, architecture: TopkGPT) -> None:
        a = architecture

        def block(layer: int) -> Block:
            mlp = MLP(a.d_model, a.d_mlp, Selection(a.selection, a.k))
            return Block(a.d_model, SelfAttention(a), mlp)

        super().__init__(a, block)
        self.architecture = a

    def at(self, fraction: float) -> None:
        a = self.architecture
        for module in self.modules():
            if isinstance(module, Selection):
                module.k = k_at(fraction, n=a.d_mlp, k=a.k, warmup=a.warmup)


@dataclass(frozen=True, kw_only=True)
class TopkGPT(Architecture):
    name = "topk"
    about = "GPT-2 with ReLU, of whose neurons a token keeps the k largest"

    d_mlp: int = 512
    k: int = 32
    selection: str = "exact"  # exact, statistical: u where u > θ, or shrunken: u − θ there
    warmup: float = 0.2  # share of training after which k has fallen from d_mlp to k

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.k <= self.d_mlp:
            raise Misuse(f"k of {self.name} is {self.k}; it lies between 1 and d_mlp, {self.d_mlp}.")
        if self.selection not in SELECTIONS:
            raise Misuse(f"The selection {self.selection!r} is not known; use {', '.join(SELECTIONS)}.")
        if not 0 <= self.warmup <= 1:
            raise Misuse(f"warmup of {self.name} is {self.warmup:g}; it is a share of training, from 0 to 1.")

    def network(self) -> Decoder:
        return TopkDecoder(self)
