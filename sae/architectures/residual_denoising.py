"""2023's residual denoising autoencoder: layers correct the projections; source and units: normalised.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling
from sae.start import bias_for_share, random_directions

from .normalised import Normalised, atoms, fold_homogeneous, penalised

# Standard deviation of an entry of W_mix is this / √n: the layers start close to doing nothing. Not tuned.
START_MIX = 0.1


@register("residual_denoising")
@dataclass(frozen=True, kw_only=True)
class ResidualDenoising(Normalised):
    """u₀ = D (x − b_dec), uₗ = uₗ₋₁ + W_mixₗ relu(uₗ₋₁ + b_mixₗ) for l = 1 … L, f = relu(u_L + b_enc), x̂ = f D + b_dec.

    Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ; b_dec is 0 in training. A W_mix is [n, n]: for dictionaries of a few
    thousand features. The authors' W_mix start orthogonal, which scrambles u; here they start small.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0
    layers: Annotated[int, "Layers between the projections and the codes."] = 3

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"residual denoising needs at least one layer, not {self.layers}; with none it is `tied`")

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {
            "W_mix": (self.layers, size.n, size.n),
            "b_mix": (self.layers, size.n),
            "b_enc": (size.n,),
            "W_dec": (size.n, size.d),
            "b_dec": (size.d,),
        }

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        W_dec = random_directions(size.n, size.d, generator)
        mix = torch.randn(self.layers, size.n, size.n, generator=generator)
        params = {
            "W_mix": START_MIX * mix / size.n**0.5,
            "b_mix": torch.zeros(self.layers, size.n),
            "b_enc": torch.zeros(size.n),
            "W_dec": W_dec,
            "b_dec": torch.zeros(size.d),
        }
        if sample is not None:
            params["b_enc"] = bias_for_share(self._corrected(params, sample).T, share)
        return params

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return torch.relu(self._corrected(params, x) + params["b_enc"])

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        codes = self.encode(params, step.x, hyper)
        return penalised(codes, self.decode(params, codes, hyper), step, hyper["l1"])

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_homogeneous(params, scaling, "b_mix", "b_enc")

    def _corrected(self, params: Params, x: Tensor) -> Tensor:
        """u_L [..., n]."""
        u = (x - params["b_dec"]) @ atoms(params["W_dec"]).mT
        for layer in range(self.layers):
            u = u + torch.relu(u + params["b_mix"][layer]) @ params["W_mix"][layer].mT
        return u
