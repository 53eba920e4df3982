"""TopK-LM: behind chosen layers the stream itself keeps its k largest coordinates, so these are the features.

    x ← x + Attn(LN x);  x ← Topₖ(x + MLP(LN x))     in all layers but the last few, which are those of GPT

Source: Takahashi et al. 2025, arXiv 2506.21468. Its last layers are dense because a token's logits need more than k
numbers. Sparsity is annealed; only the abstract and the authors' page were at hand, so the course of k (from d_model to
k over the first `warmup` of training, in stages), ReLU in the MLP and the shares below are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actpipe.antehoc.architecture import Architecture
from actpipe.antehoc.decoder import MLP, Block, Decoder, SelfAttention
from actpipe.antehoc.hook import Hook
from actpipe.antehoc.topk import exact_topk, k_at
from actpipe.antehoc.units import Units
from actpipe.errors import Misuse


class TopkStreamBlock(nn.Module):
    """A block behind which k coordinates of the stream are left; `hook_resid_whole` is the stream before that."""

    def __init__(self, d_model: int, attn: nn.Module, mlp: nn.Module, k: int) -> None:
        super().__init__()
        self.k = k
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = Hook(), Hook(), Hook()
        self.hook_attn_out, self.hook_mlp_out, self.hook_resid_whole = Hook(), Hook(), Hook()
        self.ln1, self.attn = nn.LayerNorm(d_model), attn
        self.ln2, self.mlp = nn.LayerNorm(d_model), mlp

    def forward(self, x: Tensor) -> Tensor:
        x = self.hook_resid_pre(x)
        x = self.hook_resid_mid(x + self.hook_attn_out(self.attn(self.ln1(x))))
        x = self.hook_resid_whole(x + self.hook_mlp_out(self.mlp(self.ln2(x))))
        stream: Tensor = self.hook_resid_post(exact_topk(x, self.k))
        return stream


class TopkStreamDecoder(Decoder):
    def __init__(self, architecture: TopkLM) -> None:
        a = architecture

        def block(layer: int) -> nn.Module:
            attn, mlp = SelfAttention(a), MLP(a.d_model, a.d_mlp, F.relu)
            return TopkStreamBlock(a.d_model, attn, mlp, a.k) if layer < a.n_sparse else Block(a.d_model, attn, mlp)

        super().__init__(a, block)
        self.architecture = a

    def at(self, fraction: float) -> None:
        a = self.architecture
        for block in self.blocks:
            if isinstance(block, TopkStreamBlock):
                block.k = k_at(fraction, n=a.d_model, k=a.k, warmup=a.warmup)

    def units(self) -> tuple[Units, ...]:
        """The coordinates of the stream: each writes itself."""
        axes = torch.eye(self.architecture.d_model, device=self.embed.weight.device)
        places = [f"blocks.{layer}.hook_resid_post" for layer in range(self.architecture.n_sparse)]
        return tuple(Units("topk_residual", place, place, axes) for place in places)


@dataclass(frozen=True, kw_only=True)
class TopkLM(Architecture):
    name = "topk-lm"
    about = "GPT-2 whose residual stream keeps k coordinates behind all layers but the last"

    d_mlp: int = 512
    k: int = 32
    n_dense: int = 1  # last layers whose stream stays whole
    warmup: float = 0.2  # share of training after which k has fallen from d_model to k

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_mlp < 1:
            raise Misuse(f"d_mlp of {self.name} is {self.d_mlp}; it is at least 1.")
        if not 1 <= self.k <= self.d_model:
            raise Misuse(f"k of {self.name} is {self.k}; it lies between 1 and d_model, {self.d_model}.")
        if not 0 <= self.n_dense < self.n_layers:
            raise Misuse(f"n_dense of {self.name} is {self.n_dense}; of {self.n_layers} layers at least one is sparse.")
        if not 0 <= self.warmup <= 1:
            raise Misuse(f"warmup of {self.name} is {self.warmup:g}; it is a share of training, from 0 to 1.")

    @property
    def n_sparse(self) -> int:
        return self.n_layers - self.n_dense

    def network(self) -> Decoder:
        return TopkStreamDecoder(self)
