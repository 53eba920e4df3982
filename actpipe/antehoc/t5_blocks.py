"""The blocks of T5's encoder and decoder. Hooks are named as TransformerLens names T5's places."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actpipe.antehoc.hook import Hook
from actpipe.antehoc.initialisation import normal
from actpipe.antehoc.t5_attention import Attention
from actpipe.antehoc.topk import exact_topk, k_at, statistical_topk

EPSILON = 1e-6  # of the mean square


class RMSNorm(nn.Module):
    """g · x / rms(x): no mean, no bias. Summed in float32."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + EPSILON)
        return self.weight * (x * scale).to(self.weight.dtype)

    def draw(self, generator: torch.Generator) -> None:
        self.weight.fill_(1)


class MLP(nn.Module):
    """x → W_o a, a = select(relu(W_i x)), without biases. The neurons a are at `hook_post`."""

    def __init__(self, *, d_model: int, d_mlp: int) -> None:
        super().__init__()
        self.into = nn.Linear(d_model, d_mlp, bias=False)
        self.out = nn.Linear(d_mlp, d_model, bias=False)
        self.hook_pre, self.hook_post = Hook(), Hook()

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.out(self.hook_post(self.select(self.hook_pre(self.into(x)))))
        return answer

    def select(self, u: Tensor) -> Tensor:
        return F.relu(u)

    def at(self, fraction: float) -> None:
        """Take the form of this share of training."""

    def draw(self, generator: torch.Generator) -> None:
        normal(self.into.weight, self.into.in_features**-0.5, generator)
        normal(self.out.weight, self.out.in_features**-0.5, generator)


class TopKMLP(MLP):
    """Of the neurons only the k largest stay; k falls from all of them over the first `warmup` of training."""

    def __init__(self, *, d_model: int, d_mlp: int, k: int, warmup: float, exact: bool) -> None:
        super().__init__(d_model=d_model, d_mlp=d_mlp)
        self.k = self.trained_k = k
        self.warmup, self.exact = warmup, exact

    def select(self, u: Tensor) -> Tensor:
        # The statistics are those of u; its relu is not Gaussian.
        return exact_topk(F.relu(u), self.k) if self.exact else F.relu(statistical_topk(u, self.k))

    def at(self, fraction: float) -> None:
        self.k = k_at(fraction, n=self.into.out_features, k=self.trained_k, warmup=self.warmup)


class EncoderBlock(nn.Module):
    """x ← x + Attn(RMS x);  x ← x + MLP(RMS x)."""

    def __init__(self, d_model: int, attn: Attention, mlp: MLP) -> None:
        super().__init__()
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = Hook(), Hook(), Hook()
        self.hook_attn_out, self.hook_mlp_out = Hook(), Hook()
        self.ln1, self.attn = RMSNorm(d_model), attn
        self.ln2, self.mlp = RMSNorm(d_model), mlp

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.hook_resid_pre(x)
        read = self.ln1(x)
        x = self.hook_resid_mid(x + self.hook_attn_out(self.attn(read, read, bias)))
        stream: Tensor = self.hook_resid_post(x + self.hook_mlp_out(self.mlp(self.ln2(x))))
        return stream


class DecoderBlock(nn.Module):
    """x ← x + Attn(RMS x);  x ← x + Cross(RMS x, encoder);  x ← x + MLP(RMS x)."""

    def __init__(self, d_model: int, self_attn: Attention, cross_attn: Attention, mlp: MLP) -> None:
        super().__init__()
        self.hook_resid_pre, self.hook_resid_mid = Hook(), Hook()
        self.hook_resid_mid2, self.hook_resid_post = Hook(), Hook()
        self.hook_attn_out, self.hook_cross_attn_out, self.hook_mlp_out = Hook(), Hook(), Hook()
        self.ln1, self.self_attn = RMSNorm(d_model), self_attn
        self.ln2, self.cross_attn = RMSNorm(d_model), cross_attn
        self.ln3, self.mlp = RMSNorm(d_model), mlp

    def forward(self, x: Tensor, encoded: Tensor, bias: Tensor, cross_bias: Tensor) -> Tensor:
        x = self.hook_resid_pre(x)
        read = self.ln1(x)
        x = self.hook_resid_mid(x + self.hook_attn_out(self.self_attn(read, read, bias)))
        x = self.hook_resid_mid2(x + self.hook_cross_attn_out(self.cross_attn(self.ln2(x), encoded, cross_bias)))
        stream: Tensor = self.hook_resid_post(x + self.hook_mlp_out(self.mlp(self.ln3(x))))
        return stream
