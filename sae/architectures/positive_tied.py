"""The tied autoencoder of 2023 with directions that are nowhere negative; source and units: normalised.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae import gates
from sae.architecture import Aux, Hyper, Params, Size, Step, Trained
from sae.registry import register
from sae.scaling import Scaling
from sae.start import random_directions, sparse_bias

from .normalised import atoms, fold_homogeneous, penalised_sums

# Without a sample there is no knowing how many features fire; the value of the authors' code.
START_BIAS = -1.0
# Random directions without negative entries have a mean cosine of 0.64, so features that fire together answer far too
# much and then die: FVU stayed above 1 in a toy (d 32, n 96). Their fourth powers have 0.09, and FVU came to 0.3.
START_POWER = 4


@register("positive_tied")
@dataclass(frozen=True, kw_only=True)
class PositiveTied(Trained):
    """Dᵢ = relu(W_decᵢ) at length 1, f = relu(D (x − b_dec) + b_enc), x̂ = f D + b_dec; b_dec is the floor of the rows.

    Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ, + bias_decay ‖b_enc‖. Made for what comes out of a GELU, never below
    −0.17: the authors add 0.18 to every coordinate. Here the floor is the least value of each coordinate in the
    sample, because training rows are centred and scaled; without a sample it is 0.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1", "bias_decay")
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    buffers: ClassVar[tuple[str, ...]] = ("b_dec",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0
    bias_decay: Annotated[float, "Weight of the length of the encoder bias."] = 0.0

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {"W_dec": (size.n, size.d), "b_enc": (size.n,), "b_dec": (size.d,)}

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        W_dec = atoms(random_directions(size.n, size.d, generator) ** START_POWER)
        if sample is None:
            return {"W_dec": W_dec, "b_enc": torch.full((size.n,), START_BIAS), "b_dec": torch.zeros(size.d)}
        floor = sample.amin(0)
        return {"W_dec": W_dec, "b_enc": sparse_bias(sample - floor, W_dec, share), "b_dec": floor}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return torch.relu((x - params["b_dec"]) @ self.directions(params).mT + params["b_enc"])

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ self.directions(params) + params["b_dec"]

    def directions(self, params: Params) -> Tensor:
        return atoms(torch.relu(params["W_dec"]))

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        D = self.directions(params)
        coded = step.coder(step.x, D, params["b_enc"] - D @ params["b_dec"], D, gates.ReLU())
        loss, aux = penalised_sums(coded, coded.output + params["b_dec"], step, hyper["l1"])
        return loss + hyper["bias_decay"] * params["b_enc"].norm(), aux

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_homogeneous({**params, "W_dec": self.directions(params)}, scaling, "b_enc")
