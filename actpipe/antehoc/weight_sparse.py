"""The weight-sparse transformer: after every step each matrix keeps its largest entries and loses the others.

    each matrix W with n entries: after the step of the optimizer keep the ⌊δ n⌋ largest |w|, δ falling linearly from 1
    over the first half of training; of a neuron or head channel at least `per_unit` entries stay, or it would be dead
    activations: AbsTopK, the largest |a| of a token, where attention and MLP read (attn_in, mlp_in) and write
    (attn_out, mlp_out), at queries, keys and values, and at the neurons (names of the authors' code)
    attention: softmax with one more logit a head that reads nothing, so that a head can read nothing
    logits:    W_U RMSNorm(x) + B[token], B a dense table of bigrams that the sparse rest need not learn

Source: Gao et al. 2025, arXiv 2511.13653, code openai/circuit_sparsity. Theirs differs in a head that is not tied to
the embedding, and in a learning rate that grows as δ falls. RMSNorm, because subtracting a mean would make zeros
nonzero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from actpipe.antehoc.architecture import Architecture
from actpipe.antehoc.decoder import Decoder
from actpipe.antehoc.gpt import ACTIVATIONS
from actpipe.antehoc.hook import Hook
from actpipe.antehoc.initialisation import Writer, initialise
from actpipe.antehoc.units import Kind, Units
from actpipe.errors import Misuse


class RMSNorm(nn.RMSNorm):
    """x / √(mean x² + ε) · γ, with γ = 1 at first."""

    def draw(self, generator: torch.Generator) -> None:
        self.weight.fill_(1)


class AbsTopK(nn.Module):
    """[..., n] → the entries of the share `kept` of each row that are largest in magnitude, zero elsewhere."""

    def __init__(self, kept: float) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, a: Tensor) -> Tensor:
        k = max(1, int(self.kept * a.shape[-1]))
        if k >= a.shape[-1]:
            return a
        places = a.abs().topk(k, dim=-1, sorted=False).indices
        return torch.zeros_like(a).scatter(-1, places, a.gather(-1, places))


class Sink(nn.Module):
    """A logit a head for what is not there, 0 at first: as if one more token answered nothing."""

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_heads))

    def draw(self, generator: torch.Generator) -> None:
        self.weight.zero_()


class SinkAttention(nn.Module):
    """Causal attention with a learned logit a head for reading nothing."""

    def __init__(self, d_model: int, n_heads: int, kept: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.select = AbsTopK(kept)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.sink = Sink(n_heads)
        self.hook_q, self.hook_k, self.hook_v, self.hook_z = Hook(), Hook(), Hook(), Hook()
        self.o = Writer(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            hook(rearrange(self.select(each), "b t (h c) -> b t h c", h=self.n_heads)).transpose(1, 2)
            for hook, each in zip((self.hook_q, self.hook_k, self.hook_v), self.qkv(x).chunk(3, dim=-1), strict=True)
        )
        nothing = k.new_zeros(*k.shape[:2], 1, k.shape[3])
        k, v = torch.cat([nothing, k], dim=2), torch.cat([nothing, v], dim=2)
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=self._mask(q)).transpose(1, 2)
        answer: Tensor = self.o(rearrange(self.hook_z(read), "b t h c -> b t (h c)"))
        return answer

    def _mask(self, q: Tensor) -> Tensor:
        """[H, T, 1 + T], added to logits: the sink's first, then −∞ at what comes later."""
        length = q.shape[2]
        later = torch.full((length, length), -torch.inf, device=q.device).triu(1)
        sink = self.sink.weight.float()[:, None, None].expand(-1, length, 1)
        return torch.cat([sink, later.expand(self.n_heads, -1, -1)], dim=2).to(q.dtype)


class SelectedMLP(nn.Module):
    """Of the neurons and of what they write only the largest stay; `hook_sum` is what they write before that."""

    def __init__(self, d_model: int, d_mlp: int, activation: Callable[[Tensor], Tensor], kept: float) -> None:
        super().__init__()
        self.into, self.activation, self.out = nn.Linear(d_model, d_mlp), activation, Writer(d_mlp, d_model)
        self.select = AbsTopK(kept)
        self.hook_pre, self.hook_post, self.hook_sum = Hook(), Hook(), Hook()

    def forward(self, x: Tensor) -> Tensor:
        neurons = self.hook_post(self.select(self.activation(self.hook_pre(self.into(x)))))
        answer: Tensor = self.select(self.hook_sum(self.out(neurons)))
        return answer


class SelectedBlock(nn.Module):
    def __init__(self, d_model: int, attn: nn.Module, mlp: nn.Module, kept: float) -> None:
        super().__init__()
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = Hook(), Hook(), Hook()
        self.hook_attn_out, self.hook_mlp_out = Hook(), Hook()
        self.hook_attn_in, self.hook_mlp_in = Hook(), Hook()
        self.select = AbsTopK(kept)
        self.ln1, self.attn = RMSNorm(d_model), attn
        self.ln2, self.mlp = RMSNorm(d_model), mlp

    def forward(self, x: Tensor) -> Tensor:
        x = self.hook_resid_pre(x)
        read = self.hook_attn_in(self.select(self.ln1(x)))
        x = self.hook_resid_mid(x + self.hook_attn_out(self.select(self.attn(read))))
        read = self.hook_mlp_in(self.select(self.ln2(x)))
        stream: Tensor = self.hook_resid_post(x + self.hook_mlp_out(self.mlp(read)))
        return stream


class WeightSparseDecoder(Decoder):
    def __init__(self, architecture: WeightSparse) -> None:
        a = architecture

        def block(layer: int) -> SelectedBlock:
            attn = SinkAttention(a.d_model, a.n_heads, a.kept)
            mlp = SelectedMLP(a.d_model, a.d_mlp, ACTIVATIONS[a.activation], a.kept)
            return SelectedBlock(a.d_model, attn, mlp, a.kept)

        super().__init__(a, block)
        self.architecture = a
        self.kind: Kind = "topk_neuron" if a.kept < 1 else "neuron"
        self.add_module("ln_final", RMSNorm(a.d_model))  # in place of the LayerNorm
        self.bigrams = nn.Embedding(a.vocabulary, a.vocabulary) if a.bigrams else None
        self.density = a.density  # δ at this point of training

    def initialise(self, generator: torch.Generator) -> None:
        super().initialise(generator)
        if self.bigrams is not None:
            initialise(self.bigrams, depth=self.n_layers, generator=generator)

    def logits(self, input_ids: Tensor) -> Tensor:
        found = super().logits(input_ids)
        return found if self.bigrams is None else found + self.bigrams(input_ids)

    def at(self, fraction: float) -> None:
        a = self.architecture
        self.density = a.density if fraction >= a.anneal else 1 - (1 - a.density) * fraction / a.anneal

    @torch.no_grad()
    def project(self) -> None:
        per_unit = {id(weight): dim for weight, dim in self._of_units()}
        for weight in self.parameters():
            if weight.ndim == 2 and (self.bigrams is None or weight is not self.bigrams.weight):
                least = self.architecture.per_unit if id(weight) in per_unit else 0
                keep_largest(weight, self.density, least=least, dim=per_unit.get(id(weight), 0))

    def _of_units(self) -> Iterator[tuple[Tensor, int]]:
        """Matrices whose rows (0) or columns (1) belong to a neuron or to a channel of a head."""
        for block in self.blocks:
            for name, dim in (("attn.qkv", 0), ("attn.o", 1), ("mlp.into", 0), ("mlp.out", 1)):
                yield cast(Tensor, block.get_submodule(name).weight), dim

    def units(self) -> tuple[Units, ...]:
        """Neurons write what stands at `hook_sum`; of that, the largest go on."""
        return tuple(replace(unit, writes=f"blocks.{n}.mlp.hook_sum") for n, unit in enumerate(super().units()))


def keep_largest(weight: Tensor, density: float, *, least: int, dim: int) -> None:
    """Zero all but the ⌊density · n⌋ largest |w| of a matrix, in place; of each row (dim 0) or column (dim 1) `least`
    stay, or as many as can of all."""
    k = int(density * weight.numel())
    if k >= weight.numel():
        return
    size = weight.abs()
    if least := min(least, k // weight.shape[dim], weight.shape[1 - dim]):
        size.scatter_(1 - dim, size.topk(least, dim=1 - dim, sorted=False).indices, torch.inf)
    stays = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    stays[size.flatten().topk(k, sorted=False).indices] = True
    weight.masked_fill_(~stays.view_as(weight), 0)


@dataclass(frozen=True, kw_only=True)
class WeightSparse(Architecture):
    """A network of `build` is dense, as training begins; `project` makes the sparse one with the same draws."""

    name = "weight-sparse"
    about = "a transformer most of whose weights are zero, with AbsTopK activations, attention sinks and bigrams"

    d_mlp: int = 512
    activation: str = "gelu"
    density: float = 0.1  # δ: share of the entries of each matrix that stay
    anneal: float = 0.5  # share of training after which δ is reached
    per_unit: int = 4
    kept: float = 0.25  # share of activations that AbsTopK keeps
    bigrams: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_mlp < 1:
            raise Misuse(f"d_mlp of {self.name} is {self.d_mlp}; it is at least 1.")
        if self.activation not in ACTIVATIONS:
            raise Misuse(f"The activation {self.activation!r} is not known; use {' or '.join(ACTIVATIONS)}.")
        for field in ("density", "kept"):
            if not 0 < getattr(self, field) <= 1:
                raise Misuse(f"{field} of {self.name} is {getattr(self, field):g}; it is a share above 0, up to 1.")
        if not 0 <= self.anneal <= 1:
            raise Misuse(f"anneal of {self.name} is {self.anneal:g}; it is a share of training, from 0 to 1.")
        if self.per_unit < 0:
            raise Misuse(f"per_unit of {self.name} is {self.per_unit}; it is at least 0.")

    def network(self) -> Decoder:
        return WeightSparseDecoder(self)
