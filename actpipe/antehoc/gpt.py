"""The dense twin: GPT-2, with GELU or ReLU.

    x ← x + Attn(LN x);  x ← x + W_out a(W_in LN x + b_in) + b_out

The ReLU form is the twin to compare sparse models with: its neurons are exactly zero or not, as theirs are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from actpipe.antehoc.architecture import Architecture
from actpipe.antehoc.decoder import MLP, Block, Decoder, SelfAttention
from actpipe.errors import Misuse

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


@dataclass(frozen=True, kw_only=True)
class GPT(Architecture):
    name = "gpt"
    about = "dense GPT-2, GELU or ReLU: the twin of the sparse ones"

    d_mlp: int = 512
    activation: str = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ACTIVATIONS:
            raise Misuse(f"The activation {self.activation!r} is not known; use {' or '.join(ACTIVATIONS)}.")

    def network(self) -> Decoder:
        def block(layer: int) -> Block:
            mlp = MLP(self.d_model, self.d_mlp, ACTIVATIONS[self.activation])
            return Block(self.d_model, SelfAttention(self), mlp)

        return Decoder(self, block)
