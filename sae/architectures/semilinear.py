"""2023's semilinear autoencoder: a hidden layer in the encoder alone; source and units: normalised.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling
from sae.start import bias_for_share, random_directions

from .normalised import Normalised, fold_homogeneous, penalised


@register("semilinear")
@dataclass(frozen=True, kw_only=True)
class Semilinear(Normalised):
    """h = relu(W_hidden (x − b_dec) + b_hidden), f = relu(W_mix h + b_enc), x̂ = f D + b_dec, with n hidden units.

    Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ; b_dec is 0 in training. W_mix is [n, n]: for dictionaries of a few
    thousand features.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {
            "W_hidden": (size.n, size.d),
            "b_hidden": (size.n,),
            "W_mix": (size.n, size.n),
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
        params = {
            "W_hidden": xavier((size.n, size.d), generator),
            "b_hidden": torch.zeros(size.n),
            "W_mix": xavier((size.n, size.n), generator),
            "b_enc": torch.zeros(size.n),
            "W_dec": random_directions(size.n, size.d, generator),
            "b_dec": torch.zeros(size.d),
        }
        if sample is not None:
            params["b_enc"] = bias_for_share(self._mixed(params, sample).T, share)
        return params

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return torch.relu(self._mixed(params, x) + params["b_enc"])

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        codes = self.encode(params, step.x, hyper)
        return penalised(codes, self.decode(params, codes, hyper), step, hyper["l1"])

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_homogeneous(params, scaling, "b_hidden", "b_enc")

    def _mixed(self, params: Params, x: Tensor) -> Tensor:
        hidden = torch.relu((x - params["b_dec"]) @ params["W_hidden"].mT + params["b_hidden"])
        return hidden @ params["W_mix"].mT


def xavier(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Uniform within ±√(6 / (rows + columns)) (Glorot & Bengio 2010)."""
    return (2 * torch.rand(shape, generator=generator) - 1) * math.sqrt(6 / sum(shape))
