"""A control of `relu`: directions that stay near random ones (Korznikov et al. 2026, arXiv 2602.14111)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling
from sae.start import sparse_bias

from .affine import affine_start
from .relu import ReLU

FURTHEST = 0.75  # tangent of the angle whose cosine is 0.8, that of the paper


@register("soft_frozen_decoder")
@dataclass(frozen=True, kw_only=True)
class SoftFrozenDecoder(ReLU):
    """As `relu`, with directions D of length 1 whose cosine with the random ones S = W_dec of the start is 0.8 or more.

    Dᵢ = unit(Sᵢ + 0.75 v / √(1 + ‖v‖²)), v the part of W_turnᵢ across Sᵢ: cos(Dᵢ, Sᵢ) = 1/√(1 + 0.75² ‖v‖²/(1 + ‖v‖²)).
    """

    buffers: ClassVar[tuple[str, ...]] = ("W_dec",)

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {**super().shapes(size), "W_turn": (size.n, size.d)}

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        params = {**affine_start(size, generator), "W_turn": torch.zeros(size.n, size.d)}
        if sample is not None:
            params["b_enc"] = sparse_bias(sample, params["W_enc"], share)
        return params

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        return super().loss({**params, "W_dec": self.directions(params)}, step, hyper)

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ self.directions(params) + params["b_dec"]

    def directions(self, params: Params) -> Tensor:
        S, turn = params["W_dec"], params["W_turn"]
        v = turn - (turn * S).sum(dim=-1, keepdim=True) * S
        return normalize(S + FURTHEST * v / (1 + v.square().sum(dim=-1, keepdim=True)).sqrt(), dim=-1)

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        folded = super().fold({**params, "W_dec": self.directions(params)}, scaling, target)
        return {**folded, "W_turn": torch.zeros_like(params["W_turn"])}
