"""Learned iterative shrinkage as encoder, 2023's LISTA denoising autoencoder; source and units: normalised.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.lasso import curvature
from sae.registry import register
from sae.scaling import Scaling
from sae.start import bias_for_share, random_directions

from .normalised import Normalised, atoms, fold_homogeneous, penalised

# Both from the authors' code.
START_MOMENTUM = 0.1
START_THRESHOLD = 0.02


@register("lista")
@dataclass(frozen=True, kw_only=True)
class Lista(Normalised):
    """With z = x − b_dec, y₀ = c₀ = D z, shrink(r, θ) = sign(r) relu(|r| − θ), for each layer l = 1 … L:

    cₗ = shrink(yₗ₋₁ + W_encₗ (z − yₗ₋₁ D), θₗ), yₗ = cₗ + clip(ρₗ, 0, 1) (cₗ − cₗ₋₁).
    f = c_L, of either sign, x̂ = f D + b_dec; b_dec is 0 in training. Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ |fᵢ|.
    After Gregor & LeCun 2010, with the momentum of arXiv 2008.02683. The authors answer y_L, which is not zero wherever
    one of the last two c is not. Their W_enc start at random, here they do at D / λ as in iterative shrinkage.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0
    layers: Annotated[int, "Layers of the encoder."] = 3

    def __post_init__(self) -> None:
        if self.layers < 2:
            raise ValueError(f"a LISTA encoder needs at least two layers, not {self.layers}; one is a tied autoencoder")

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {
            "W_enc": (self.layers, size.n, size.d),
            "threshold": (self.layers, size.n),
            "momentum": (self.layers - 1,),
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
        params = {
            "W_enc": (W_dec / curvature(W_dec)).repeat(self.layers, 1, 1),
            "threshold": torch.full((self.layers, size.n), START_THRESHOLD),
            "momentum": torch.full((self.layers - 1,), START_MOMENTUM),
            "W_dec": W_dec,
            "b_dec": torch.zeros(size.d),
        }
        if sample is not None:
            # From the first layer to the last, because the rows that a layer sees depend on the layers before it.
            for layer in range(self.layers):
                arriving = self._arriving(params, sample, layer)
                params["threshold"][layer] = -bias_for_share(arriving.abs().T, share)
        return params

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        last = self.layers - 1
        return shrink(self._arriving(params, x, last), params["threshold"][last])

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        codes = self.encode(params, step.x, hyper)
        return penalised(codes, self.decode(params, codes, hyper), step, hyper["l1"])

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_homogeneous(params, scaling, "threshold")

    def _arriving(self, params: Params, x: Tensor, layer: int) -> Tensor:
        """What layer `layer` shrinks, [..., n]."""
        D = atoms(params["W_dec"])
        z = x - params["b_dec"]
        y = c = z @ D.mT
        for i in range(layer):
            shrunk = shrink(y + (z - y @ D) @ params["W_enc"][i].mT, params["threshold"][i])
            y, c = shrunk + params["momentum"][i].clamp(0, 1) * (shrunk - c), shrunk
        return y + (z - y @ D) @ params["W_enc"][layer].mT


def shrink(r: Tensor, threshold: Tensor) -> Tensor:
    return torch.sign(r) * torch.relu(r.abs() - threshold)
