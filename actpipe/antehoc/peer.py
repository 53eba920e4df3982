"""PEER: the MLP is a pool of experts with one neuron each, of which a token retrieves a few by product keys.

    q = norm(W_q x) for each of H heads, in halves q₁, q₂;   s(i, j) = c₁ᵢ·q₁ + c₂ⱼ·q₂ scores expert n = i √N + j
    y = Σ_h Σ_{n in the k best of head h} gₙ ReLU(uₙ·x) vₙ,   g = softmax of the k best scores

The k best of N = √N · √N are among the sums of the k best of each half, so a head looks at 2 √N + k² scores.
Heads share experts and keys. Source: He 2024, arXiv 2407.04153. Its queries pass a batch normalisation, whose
statistics would be of other tokens; here each query is normalised alone. Its experts have GELU; ReLU makes an
expert fire or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from actpipe.antehoc.architecture import Architecture
from actpipe.antehoc.decoder import Block, Decoder, SelfAttention
from actpipe.antehoc.hook import Hook
from actpipe.antehoc.initialisation import Writer, normal
from actpipe.errors import Misuse


class ProductKeys(nn.Module):
    """x [..., d] → the k best experts of each head: scores and numbers [..., H, k]."""

    def __init__(self, d_model: int, n_experts: int, *, n_retrievers: int, k: int, d_key: int) -> None:
        super().__init__()
        self.k, self.n_retrievers, self.side = k, n_retrievers, math.isqrt(n_experts)
        self.query = nn.Linear(d_model, n_retrievers * 2 * d_key, bias=False)
        self.keys = nn.Parameter(torch.empty(2, self.side, d_key))

    def draw(self, generator: torch.Generator) -> None:
        """Queries have length √(2 d_key) whatever W_q is; keys of length 1 give scores with a variance near 2."""
        normal(self.query.weight, 1 / math.sqrt(self.query.in_features), generator)
        normal(self.keys, 1 / math.sqrt(self.keys.shape[-1]), generator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        query = rearrange(self.query(x), "... (h c) -> ... h c", h=self.n_retrievers)
        halves = rearrange(F.layer_norm(query, query.shape[-1:]), "... h (two c) -> ... h two c", two=2)
        scores = torch.einsum("...hsc,snc->...hsn", halves, self.keys)  # s: which half
        best, places = scores.topk(min(self.k, self.side), dim=-1)
        sums = best[..., 0, :, None] + best[..., 1, None, :]
        numbers = self.side * places[..., 0, :, None] + places[..., 1, None, :]
        found, which = sums.flatten(-2).topk(self.k, dim=-1)
        return found, numbers.flatten(-2).gather(-1, which)


class Experts(nn.Module):
    """`into.weight` [N, d] are the uₙ, the columns of `out.weight` [d, N] the vₙ.

    The values gₙ ReLU(uₙ·x) of all N experts [B, T, N] are made only while somebody looks at `hook_post`.
    """

    def __init__(self, d_model: int, n_experts: int, retriever: ProductKeys) -> None:
        super().__init__()
        self.retriever = retriever
        self.into = nn.Linear(d_model, n_experts, bias=False)
        self.out = Writer(n_experts, d_model, bias=False)
        self.hook_post = Hook()

    def forward(self, x: Tensor) -> Tensor:
        scores, numbers = self.retriever(x)
        read = torch.einsum("btd,bthkd->bthk", x, F.embedding(numbers, self.into.weight).to(x.dtype))
        values = F.softmax(scores, dim=-1) * F.relu(read)
        if self.hook_post.watched or self.out._forward_hooks or self.out._forward_pre_hooks:
            everyone = values.new_zeros(*x.shape[:2], self.into.out_features)
            everyone = everyone.scatter_add(-1, numbers.flatten(2), values.flatten(2))
            whole: Tensor = self.out(self.hook_post(everyone))
            return whole
        written = F.embedding(numbers, self.out.weight.T).to(values.dtype)
        return torch.einsum("bthk,bthkd->btd", values, written)


class PEERDecoder(Decoder):
    kind = "expert"


@dataclass(frozen=True, kw_only=True)
class PEER(Architecture):
    name = "peer"
    about = "GPT-2 whose MLP is a pool of one-neuron experts, a few of which each token retrieves by product keys"

    n_experts: int = 1024  # N, a square
    n_retrievers: int = 4  # H
    k: int = 8  # experts that a head retrieves
    d_key: int = 32  # of each half

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("n_experts", "n_retrievers", "d_key"):
            if getattr(self, field) < 1:
                raise Misuse(f"{field} of {self.name} is {getattr(self, field)}; it is at least 1.")
        if math.isqrt(self.n_experts) ** 2 != self.n_experts:
            near = round(math.sqrt(self.n_experts)) ** 2
            raise Misuse(f"n_experts of {self.name} is {self.n_experts}; it is a square, such as {near}.")
        if not 1 <= self.k <= self.n_experts:
            raise Misuse(f"k of {self.name} is {self.k}; it lies between 1 and n_experts, {self.n_experts}.")

    def network(self) -> Decoder:
        def block(layer: int) -> Block:
            keys = ProductKeys(self.d_model, self.n_experts, n_retrievers=self.n_retrievers, k=self.k, d_key=self.d_key)
            return Block(self.d_model, SelfAttention(self), Experts(self.d_model, self.n_experts, keys))

        return PEERDecoder(self, block)
