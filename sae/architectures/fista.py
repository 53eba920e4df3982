"""Codes that are solved for, not computed: the "direct coefficients" of 2023; source and units: normalised.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.lasso import nonnegative_codes
from sae.registry import register
from sae.scaling import Scaling
from sae.start import random_directions

from .normalised import Normalised, atoms, one_scale, penalised


@register("fista")
@dataclass(frozen=True, kw_only=True)
class Fista(Normalised):
    """With z = scale · (x − b_dec): f = argmin over f ≥ 0 of ‖z − f D‖² + l1 Σᵢ fᵢ, over `scale`; x̂ = f D + b_dec.

    Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ with constant f: the gradient is that of D alone, which at the optimum
    is that of the minimum over f too. b_dec is 0 and `scale` 1 in training. The authors take 100 steps of gradient
    descent with momentum 0.9 and cut codes at zero; here FISTA (sae/lasso.py). A step of training costs 2 · `steps`
    products of [B, n] by [n, d].
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    # l1 is a number in units of training, so rows in model units are brought back to these.
    buffers: ClassVar[tuple[str, ...]] = ("b_dec", "scale")

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0
    steps: Annotated[int, "Steps of FISTA for the codes."] = 100

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"FISTA needs at least one step, not {self.steps}")

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {"W_dec": (size.n, size.d), "b_dec": (size.d,), "scale": ()}

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        # No bias to choose: l1 alone decides how many features fire.
        W_dec = random_directions(size.n, size.d, generator)
        return {"W_dec": W_dec, "b_dec": torch.zeros(size.d), "scale": torch.ones(())}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        z = params["scale"] * (x - params["b_dec"])
        return nonnegative_codes(z, atoms(params["W_dec"]), hyper["l1"], steps=self.steps) / params["scale"]

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        constant = {name: p.detach() for name, p in params.items()}
        with torch.no_grad():
            codes = self.encode(constant, step.x, hyper)
        return penalised(codes, self.decode(params, codes, hyper), step, hyper["l1"])

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return {
            **params,
            "W_dec": atoms(params["W_dec"]),
            "b_dec": scaling.undo(params["b_dec"]),
            "scale": params["scale"] * one_scale(scaling),
        }
