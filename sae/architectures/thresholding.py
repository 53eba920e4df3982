"""The tied autoencoder of 2023 with a learned step, above which codes are linear; source and units: normalised.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import relu6

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling
from sae.start import random_directions, sparse_bias

from .normalised import Normalised, atoms, fold_homogeneous, one_scale, penalised

FIRST = 0.9  # where codes leave zero, in units of a feature's step
LEAST_STEP = 1e-8  # the guard of the authors' code


@register("thresholding")
@dataclass(frozen=True, kw_only=True)
class Thresholding(Normalised):
    """With a = max(root², 1e-8): u = (D (x − b_dec) + gain) / a, f = a (relu6(60 (u − 0.9)) / 6 + relu(u − 1)).

    x̂ = f D + b_dec, loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ. A code is zero below u = 0.9, rises steeply to the
    step a at u = 1 and is a · u from there on. b_dec is learned, from 0: the `centering` that their encoder reads and
    their `init` forgets; here it is also added to the answer.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    buffers: ClassVar[tuple[str, ...]] = ()

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {"W_dec": (size.n, size.d), "gain": (size.n,), "root": (size.n,), "b_dec": (size.d,)}

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
        gain = torch.zeros(size.n) if sample is None else FIRST + sparse_bias(sample, W_dec, share)
        return {"W_dec": W_dec, "gain": gain, "root": torch.ones(size.n), "b_dec": torch.zeros(size.d)}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        a = params["root"].square().clamp(min=LEAST_STEP)
        u = ((x - params["b_dec"]) @ atoms(params["W_dec"]).mT + params["gain"]) / a
        return a * (relu6(60 * (u - FIRST)) / 6 + torch.relu(u - 1))

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        codes = self.encode(params, step.x, hyper)
        return penalised(codes, self.decode(params, codes, hyper), step, hyper["l1"])

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        # Codes follow gain and a, and a is the square of the root.
        return fold_homogeneous({**params, "root": params["root"] / one_scale(scaling) ** 0.5}, scaling, "gain")
