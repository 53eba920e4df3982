"""A block that two streams pass: the clean one as in GPT, the ablated one on what the clean one left behind.

Ferrao et al. 2025. With masks m of zeros and ones and the same weights, position t of the ablated stream xᵃ does
    query, own key and own value from LN xᵃ; keys and values of earlier positions from the clean stream
    xᵃ ← xᵃ + W_O (m_attn ∘ heads) + b_O;   xᵃ ← xᵃ + W_out (m_mlp ∘ a(W_in LN xᵃ + b_in)) + b_out
so one pass is T experiments, each with one position ablated and a history that is not.
Shapes: B sequences, T positions, H heads of width w, H·w = d_model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from actpipe.antehoc.decoder import MLP, attend
from actpipe.antehoc.hook import Hook
from actpipe.antehoc.initialisation import Writer
from actpipe.antehoc.kwta import k_winners


class History(NamedTuple):
    """What the clean stream leaves behind in a block."""

    before: Tensor  # [B, T, d_model] the stream that entered
    k: Tensor  # [B, T, H, w]
    v: Tensor  # [B, T, H, w]


class Gate(nn.Module):
    """Scores of the channels that heads answer with and of the neurons; the best are not ablated.

    Winners do not depend on the size of the scores, so the size of these weights only sets how fast they turn.
    """

    def __init__(self, d_model: int, d_mlp: int) -> None:
        super().__init__()
        self.attn, self.mlp = nn.Linear(d_model, d_model), nn.Linear(d_model, d_mlp)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Never in the bfloat16 of autocast: where the k-th and the next score are equal, no gradient passes."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.attn.weight.dtype)
            return self.attn(x), self.mlp(x)


class AblatableAttention(nn.Module):
    """Attention of GPT-2 that also answers for a token whose own part in it is ablated."""

    def __init__(self, d_model: int, n_heads: int, *, scale: float | None) -> None:
        """`scale` multiplies q·k; None stands for 1/√w."""
        super().__init__()
        self.n_heads, self.scale = n_heads, scale
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.hook_q, self.hook_k, self.hook_v, self.hook_z = Hook(), Hook(), Hook(), Hook()
        self.o = Writer(d_model, d_model)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, d_model] and the keys and values [B, T, H, w] of every position."""
        q, k, v = self._heads(self.qkv(x))
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        return self.o(attend(q, k, v, self.hook_z, scale=self.scale)), k, v

    def read_past(self, x: Tensor, history: History) -> Tensor:
        """[B, T, H, w] that heads answer to a token with its own key and value on the clean past."""
        q, k, v = self._heads(self.qkv.forward(x))
        return attend_past(q, history.k, history.v, own_k=k, own_v=v, scale=self.scale)

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = rearrange(qkv, "b t (three h w) -> three b t h w", three=3, h=self.n_heads)
        return q, k, v


def attend_past(q: Tensor, k: Tensor, v: Tensor, *, own_k: Tensor, own_v: Tensor, scale: float | None) -> Tensor:
    """Causal attention with the diagonal replaced: position t reads k, v at s < t, and own_k, own_v at t itself.

    All are [B, T, H, w]. It is one call of fused causal attention. A key 0 is put before all others, so that the query
    at t reaches that one and s < t. Heads get one more channel, where key 0 alone is one and q_t is q_t·own_k_t: its
    score is the own one. The value of key 0 is one in that channel, zero elsewhere: out comes the weight a_tt.
    """
    q, k, v, own_k, own_v = (each.transpose(1, 2) for each in (q, k, v, own_k, own_v))
    width = q.shape[-1]
    spare = -(width + 1) % 8  # fused kernels want widths in eights
    own = (q * own_k).sum(-1, keepdim=True)
    q = F.pad(torch.cat([q, own], -1), (0, spare))
    first = F.pad(q.new_ones(1, 1), (width, spare, 0, q.shape[-2] - 1))  # [T, w + 1 + spare]
    k, v = (F.pad(each[..., :-1, :], (0, 1 + spare, 1, 0)) + first for each in (k, v))
    scale = 1 / math.sqrt(width) if scale is None else scale
    read = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    return (read[..., :width] + read[..., width : width + 1] * own_v).transpose(1, 2)


class AblatedAttentionPlaces(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hook_gate = Hook()  # scores [B, T, d_model]
        self.hook_mask = Hook()  # exactly k ones in each row
        self.hook_z = Hook()  # [B, T, H, w] times the mask


class AblatedMLPPlaces(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hook_gate = Hook()  # scores [B, T, d_mlp]
        self.hook_mask = Hook()  # exactly k ones in each row
        self.hook_post = Hook()  # neurons times the mask


class AblatedPlaces(nn.Module):
    """Where the ablated stream of a block can be seen or changed: `blocks.N.ablated.…`."""

    def __init__(self) -> None:
        super().__init__()
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = Hook(), Hook(), Hook()
        self.hook_attn_out, self.hook_mlp_out = Hook(), Hook()
        self.attn, self.mlp = AblatedAttentionPlaces(), AblatedMLPPlaces()


class AblatableBlock(nn.Module):
    """`forward` is the clean stream and the block of GPT; `ablate` is the other stream.

    `ablate` calls `forward` of the modules that it shares with the clean stream, which passes over their hooks: a place
    is seen once in a pass, and what is seen there is clean.
    """

    def __init__(self, attn: AblatableAttention, mlp: MLP, d_model: int, *, k_attention: int, k_neurons: int) -> None:
        super().__init__()
        self.k_attention, self.k_neurons = k_attention, k_neurons
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = Hook(), Hook(), Hook()
        self.hook_attn_out, self.hook_mlp_out = Hook(), Hook()
        self.ln1, self.attn = nn.LayerNorm(d_model), attn
        self.ln2, self.mlp = nn.LayerNorm(d_model), mlp
        self.ablated = AblatedPlaces()

    def forward(self, x: Tensor) -> tuple[Tensor, History]:
        before = self.hook_resid_pre(x)
        answer, k, v = self.attn(self.ln1(before))
        x = self.hook_resid_mid(before + self.hook_attn_out(answer))
        x = self.hook_resid_post(x + self.hook_mlp_out(self.mlp(self.ln2(x))))
        return x, History(before, k, v)

    def ablate(self, x: Tensor, history: History, scores: tuple[Tensor, Tensor]) -> Tensor:
        """[B, T, d_model] after the block; `scores` of the channels and of the neurons."""
        at = self.ablated
        channels = at.attn.hook_mask(k_winners(at.attn.hook_gate(scores[0]), self.k_attention))
        neurons = at.mlp.hook_mask(k_winners(at.mlp.hook_gate(scores[1]), self.k_neurons))
        x = at.hook_resid_pre(x)
        read = self.attn.read_past(self.ln1.forward(x), history)
        read = at.attn.hook_z(read * rearrange(channels, "b t (h w) -> b t h w", h=self.attn.n_heads))
        x = at.hook_resid_mid(x + at.hook_attn_out(self.attn.o.forward(rearrange(read, "b t h w -> b t (h w)"))))
        active = self.mlp.activation(self.mlp.into.forward(self.ln2.forward(x)))
        answer = self.mlp.out.forward(at.mlp.hook_post(active * neurons))
        after: Tensor = at.hook_resid_post(x + at.hook_mlp_out(answer))
        return after


def is_looked_at(module: nn.Module) -> bool:
    """Whether anybody has a hook in `module`."""
    return any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())
