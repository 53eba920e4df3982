"""CRATE: each layer compresses tokens by attention within subspaces, then sparsifies them against a dictionary.

    Attention   q = k = v = W x;   x ← x + W_o Attn(LN x) + b_o
    ODL         z₀ = 0;   zₛ₊₁ = ReLU(zₛ + η Dᵀ(u − D zₛ) − ηλ),   u = LN x;   x ← D zₙ

The first is a step that lowers the coding rate of the tokens in the subspaces W, the second is n steps of proximal
gradient (ISTA) on ½‖u − D z‖² + λ‖z‖₁ with z ≥ 0. D [d, h] is overcomplete and the codes zₙ are the sparse units: with
no skip around it, the block's answer is exactly the sum of the codes times the columns of D.

Sources: CRATE (Yu et al. 2023, arXiv 2306.01129); CRATE-LM, causal, D tied, two steps; CRATE-α (Yang et al. 2024,
arXiv 2405.20299): another dictionary D₁ answers, x ← x + D₁ zₙ, and W_o has no bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from actpipe.antehoc.architecture import Architecture
from actpipe.antehoc.decoder import Block, Decoder, attend
from actpipe.antehoc.hook import Hook
from actpipe.antehoc.initialisation import Writer, uniform
from actpipe.errors import Misuse


class SubspaceAttention(nn.Module):
    """Causal attention in which a head's queries, keys and values are one projection onto its subspace."""

    def __init__(self, d_model: int, n_heads: int, *, bias: bool) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, d_model, bias=False)
        self.hook_q, self.hook_k, self.hook_v, self.hook_z = Hook(), Hook(), Hook(), Hook()
        self.o = Writer(d_model, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        w = rearrange(self.qkv(x), "b t (h c) -> b t h c", h=self.n_heads)
        answer: Tensor = self.o(attend(self.hook_q(w), self.hook_k(w), self.hook_v(w), self.hook_z))
        return answer


class ODL(nn.Module):
    """Overcomplete dictionary layer. `out` is the dictionary that answers, `into` the one that encodes if they differ;
    `into.weight` is Dᵀ [h, d]."""

    def __init__(self, d_model: int, d_mlp: int, *, n_steps: int, eta: float, lam: float, decoupled: bool) -> None:
        super().__init__()
        self.n_steps, self.eta, self.lam = n_steps, eta, lam
        self.into = nn.Linear(d_model, d_mlp, bias=False) if decoupled else None
        self.out = nn.Linear(d_mlp, d_model, bias=False)
        self.hook_pre, self.hook_post = Hook(), Hook()

    def draw(self, generator: torch.Generator) -> None:
        """Kaiming-uniform with a fan of d, so that the entries of Dᵀu have variance 2 for a normalised u."""
        for dictionary in (self.out, self.into):
            if dictionary is not None:
                uniform(dictionary.weight, math.sqrt(6 / self.out.out_features), generator)

    def forward(self, u: Tensor) -> Tensor:
        d, dt = (self.out.weight, self.out.weight.T) if self.into is None else (self.into.weight.T, self.into.weight)
        # A constant in place of a bias: the product of matrices subtracts ηλ itself, and h-wide passes are what costs.
        threshold = u.new_full((dt.shape[0],), -self.eta * self.lam)
        pre = F.linear(self.eta * u, dt, threshold)
        for _ in range(self.n_steps - 1):
            z = F.relu(pre)
            # Dᵀ(u − D z) rather than Dᵀu − DᵀD z: the difference is d wide, not h.
            pre = z + F.linear(self.eta * (u - F.linear(z, d)), dt, threshold)
        answer: Tensor = self.out(self.hook_post(F.relu(self.hook_pre(pre))))
        return answer


class CRATEDecoder(Decoder):
    kind = "crate_code"


@dataclass(frozen=True, kw_only=True)
class CRATE(Architecture):
    """The defaults are CRATE-LM; every difference to CRATE-α is a field."""

    name = "crate"
    about = "attention in shared subspaces, then steps of sparse coding; its codes are the layer's answer"

    d_mlp: int = 512  # h, columns of D
    n_steps: int = 2
    eta: float = 0.1
    lam: float = 0.1
    decoupled: bool = False  # a second dictionary answers
    skip: bool = False  # the answer is added to the stream; without, it replaces it
    attention_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("d_mlp", "n_steps"):
            if getattr(self, field) < 1:
                raise Misuse(f"{field} of {self.name} is {getattr(self, field)}; it is at least 1.")
        if not self.eta > 0:
            raise Misuse(f"eta of {self.name} is {self.eta:g}; a step has a length above 0.")
        if not self.lam >= 0:
            raise Misuse(f"lam of {self.name} is {self.lam:g}; a threshold is at least 0.")

    def network(self) -> Decoder:
        def block(layer: int) -> Block:
            attention = SubspaceAttention(self.d_model, self.n_heads, bias=self.attention_bias)
            odl = ODL(
                self.d_model,
                self.d_mlp,
                n_steps=self.n_steps,
                eta=self.eta,
                lam=self.lam,
                decoupled=self.decoupled,
            )
            return Block(self.d_model, attention, odl, skip=self.skip)

        return CRATEDecoder(self, block)


@dataclass(frozen=True, kw_only=True)
class CRATEAlpha(CRATE):
    """The same under the defaults of CRATE-α."""

    name = "crate-alpha"
    about = "CRATE with a second dictionary that answers, added to the stream"

    decoupled: bool = True
    skip: bool = True
    attention_bias: bool = False
