"""The ReLU autoencoder with an L1 penalty weighted by decoder norms (Anthropic, Circuits Updates, April 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae import gates
from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling
from sae.start import sparse_bias

from .affine import Affine, affine_shapes, affine_start, fold_affine, pre_activations, training_bias

# Length of each decoder row at the start. The loss is free to change it, because the penalty is weighted by it.
# On 113k residual rows of SmolLM2 (layer 9, n 1152, B 1024, 220 steps, lr 1e-3; l1 2, 5, 10) the last training losses
# were 222, 305, 391 from 0.1; 216, 292, 382 from 0.3; 218, 290, 422 from 1.0, with a quarter dead at l1 10. One seed.
START_NORM = 0.3


@register("relu")
@dataclass(frozen=True, kw_only=True)
class ReLU(Affine):
    """f = relu(W_enc (x − b_dec) + b_enc), x̂ = f W_dec + b_dec, loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ ‖W_decᵢ‖.

    Rows must be centred and scaled to E‖x‖² = d first, so that one l1 means the same at every hook.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return affine_shapes(size)

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        params = affine_start(size, generator, length=START_NORM)
        if sample is not None:
            params["b_enc"] = sparse_bias(sample, params["W_enc"], share)
        return params

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return torch.relu(pre_activations(params, x))

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        coded = step.coder(step.x, params["W_enc"], training_bias(params), params["W_dec"], gates.ReLU())
        n_rows = len(step.x)
        reconstruction = (coded.output + params["b_dec"] - step.target).square().sum() / n_rows
        sparsity = (coded.sums @ params["W_dec"].norm(dim=1)) / n_rows
        loss = reconstruction + hyper["l1"] * sparsity
        return loss, {"firings": coded.firings, "reconstruction": reconstruction, "sparsity": sparsity}

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_affine(params, scaling, target)
