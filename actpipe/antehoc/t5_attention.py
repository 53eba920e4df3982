"""T5's attention with any map from logits to weights: of one stack to itself, or of the decoder to the encoder.

S = q kᵀ + bias, without 1/√d; the bias is that of relative positions, and −inf at keys that must not be seen.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from actpipe.antehoc.attention import Normaliser
from actpipe.antehoc.hook import Hook
from actpipe.antehoc.initialisation import normal


class Attention(nn.Module):
    """What `x` [B, Q, d_model] reads in `source` [B, K, d_model]."""

    def __init__(self, *, d_model: int, n_heads: int, d_head: int, normaliser: Normaliser) -> None:
        super().__init__()
        width = n_heads * d_head
        self.n_heads, self.d_head = n_heads, d_head
        self.q, self.k, self.v = (nn.Linear(d_model, width, bias=False) for _ in range(3))
        self.o = nn.Linear(width, d_model, bias=False)
        self.hook_q, self.hook_k, self.hook_v, self.hook_z = Hook(), Hook(), Hook(), Hook()
        self.hook_attn_scores, self.hook_pattern = Hook(), Hook()
        self.trained = self.normaliser = normaliser
        self.learned = normaliser.learned(n_heads)

    def forward(self, x: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        """`bias` broadcasts against [B, head, Q, K]."""
        q, k, v = self.hook_q(self._heads(self.q(x))), self._heads(self.k(source)), self._heads(self.v(source))
        scores = self.hook_attn_scores(torch.einsum("bqhc,bkhc->bhqk", q, self.hook_k(k)) + bias)
        pattern = self.hook_pattern(self.normaliser.weights(scores, self.learned))
        z = self.hook_z(self.normaliser.context(pattern, self.hook_v(v)))
        answer: Tensor = self.o(rearrange(z, "b q h c -> b q (h c)"))
        return answer

    def at(self, fraction: float) -> None:
        self.normaliser = self.trained.at(fraction)

    def draw(self, generator: torch.Generator) -> None:
        """T5's scales: that of q takes the place of dividing logits by √d."""
        d_model, width = self.k.in_features, self.o.in_features
        normal(self.q.weight, (d_model * self.d_head) ** -0.5, generator)
        normal(self.k.weight, d_model**-0.5, generator)
        normal(self.v.weight, d_model**-0.5, generator)
        normal(self.o.weight, width**-0.5, generator)
        start = self.trained.learned(self.n_heads)
        if self.learned is not None and start is not None:
            self.learned.copy_(start)

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t (h c) -> b t h c", h=self.n_heads)


def unseen_padding(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """attention_mask [B, K], true at tokens that are not padding → bias [B, 1, 1, K]: 0, and −inf at padding."""
    seen = attention_mask.bool()[:, None, None, :]
    return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, -math.inf)


def unseen_future(length: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Bias [1, 1, T, T]: −inf where the key comes after the query."""
    return torch.full((1, 1, length, length), -math.inf, dtype=dtype, device=device).triu(1)
