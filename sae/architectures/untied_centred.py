"""The "huge batch" autoencoder of 2023: untied, with a learned centre; source and units: normalised.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling

from .normalised import Normalised
from .untied import Untied


@register("untied_centred")
@dataclass(frozen=True, kw_only=True)
class UntiedCentred(Normalised):
    """f = relu(W_enc (x − b_dec) + b_enc), x̂ = f D + b_dec with Dᵢ = W_decᵢ / ‖W_decᵢ‖; b_dec is learned, from 0.

    Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ. The matrices start equal.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    buffers: ClassVar[tuple[str, ...]] = ()

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return Untied().shapes(size)

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        return Untied().init(size, hyper, generator, sample=sample, share=share)

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return Untied().encode(params, x, hyper)

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        return Untied().loss(params, step, {**hyper, "bias_decay": torch.zeros_like(hyper["l1"])})

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return Untied().fold(params, scaling, target)
