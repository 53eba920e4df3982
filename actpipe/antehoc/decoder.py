"""tokens → blocks → logits: the frame that all decoder-only architectures share. What differs is the block."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from actpipe.antehoc.architecture import Architecture, Network
from actpipe.antehoc.hook import Hook
from actpipe.antehoc.initialisation import Writer, initialise
from actpipe.antehoc.units import Kind, Units
from actpipe.errors import Misuse


class SelfAttention(nn.Module):
    """Causal attention of GPT-2: a token reads itself and what came before."""

    def __init__(self, architecture: Architecture, *, bias: bool = True) -> None:
        super().__init__()
        d = architecture.d_model
        self.n_heads = architecture.n_heads
        self.qkv = nn.Linear(d, 3 * d, bias=bias)
        self.hook_q, self.hook_k, self.hook_v, self.hook_z = Hook(), Hook(), Hook(), Hook()
        self.o = Writer(d, d)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b t (three h c) -> three b t h c", three=3, h=self.n_heads)
        answer: Tensor = self.o(attend(self.hook_q(q), self.hook_k(k), self.hook_v(v), self.hook_z))
        return answer


def attend(q: Tensor, k: Tensor, v: Tensor, hook_z: Hook, *, scale: float | None = None) -> Tensor:
    """[B, T, heads · width] from [B, T, heads, width]; `hook_z` sees what the heads read, before they are mixed.

    `scale` multiplies q·k; None stands for 1/√width.
    """
    q, k, v = (each.transpose(1, 2) for each in (q, k, v))
    read: Tensor = hook_z(F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(1, 2))
    return rearrange(read, "b t h c -> b t (h c)")


class MLP(nn.Module):
    """x → W_out a(W_in x). The neurons are at `hook_post`: behind the nonlinearity, before the way down."""

    def __init__(self, d_model: int, d_mlp: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.into = nn.Linear(d_model, d_mlp)
        self.activation = activation
        self.out = Writer(d_mlp, d_model)
        self.hook_pre, self.hook_post = Hook(), Hook()

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.out(self.hook_post(self.activation(self.hook_pre(self.into(x)))))
        return answer


class Block(nn.Module):
    """Attention, then MLP, each on the normalised stream. `skip=False`: what the MLP answers replaces the stream."""

    def __init__(self, d_model: int, attn: nn.Module, mlp: nn.Module, *, skip: bool = True) -> None:
        super().__init__()
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = Hook(), Hook(), Hook()
        self.hook_attn_out, self.hook_mlp_out = Hook(), Hook()
        self.ln1, self.attn = nn.LayerNorm(d_model), attn
        self.ln2, self.mlp = nn.LayerNorm(d_model), mlp
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.hook_resid_pre(x)
        x = self.hook_resid_mid(x + self.hook_attn_out(self.attn(self.ln1(x))))
        answer = self.hook_mlp_out(self.mlp(self.ln2(x)))
        stream: Tensor = self.hook_resid_post(x + answer if self.skip else answer)
        return stream


class Decoder(Network):
    """Learned positions, blocks, a final norm, and a head that is the token table (tied)."""

    kind: Kind = "neuron"  # of the units behind every `mlp.hook_post`

    def __init__(self, architecture: Architecture, block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        a = architecture
        self.context, self.n_layers = a.context, a.n_layers
        self.embed, self.pos_embed = nn.Embedding(a.vocabulary, a.d_model), nn.Embedding(a.context, a.d_model)
        self.hook_embed, self.hook_pos_embed = Hook(), Hook()
        self.blocks = nn.ModuleList(block(layer) for layer in range(a.n_layers))
        self.ln_final = nn.LayerNorm(a.d_model)
        self.unembed = nn.Linear(a.d_model, a.vocabulary, bias=False)
        self.unembed.weight = self.embed.weight

    def initialise(self, generator: torch.Generator) -> None:
        for part in (self.embed, self.pos_embed, *self.blocks, self.ln_final):
            initialise(part, depth=self.n_layers, generator=generator)

    def stream(self, input_ids: Tensor) -> Tensor:
        """[B, T, d_model] before the first block."""
        size, length = input_ids.shape
        if length > self.context:
            raise Misuse(f"The sequence has {length} tokens; this model reads {self.context} at most.")
        places = self.pos_embed(torch.arange(length, device=input_ids.device)).expand(size, -1, -1)
        found: Tensor = self.hook_embed(self.embed(input_ids)) + self.hook_pos_embed(places)
        return found

    def logits(self, input_ids: Tensor) -> Tensor:
        x = self.stream(input_ids)
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.unembed(self.ln_final(x))
        return found

    def units(self) -> tuple[Units, ...]:
        return tuple(
            Units(
                self.kind,
                f"blocks.{layer}.mlp.hook_post",
                f"blocks.{layer}.hook_mlp_out",
                self.get_submodule(f"blocks.{layer}.mlp.out").weight.T,  # type: ignore[arg-type]
            )
            for layer in range(self.n_layers)
        )
