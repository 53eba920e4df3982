"""The untied autoencoder of 2023: free encoder rows, directions of length 1; source and units: normalised.py."""

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

from .affine import affine_shapes, affine_start, fold_affine, pre_activations, training_bias
from .normalised import Normalised, atoms, penalised_sums


@register("untied")
@dataclass(frozen=True, kw_only=True)
class Untied(Normalised):
    """f = relu(W_enc (x − b_dec) + b_enc), x̂ = f D + b_dec with Dᵢ = W_decᵢ / ‖W_decᵢ‖ and b_dec = 0 in training.

    Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ, + bias_decay ‖b_enc‖. The matrices start equal, not apart as in 2023.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1", "bias_decay")
    penalties: ClassVar[tuple[str, ...]] = ("l1",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0
    bias_decay: Annotated[float, "Weight of the length of the encoder bias."] = 0.0

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
        params = affine_start(size, generator)
        if sample is not None:
            params["b_enc"] = sparse_bias(sample, params["W_enc"], share)
        return params

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return torch.relu(pre_activations(params, x))

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        W_dec = atoms(params["W_dec"])
        coded = step.coder(step.x, params["W_enc"], training_bias(params), W_dec, gates.ReLU())
        loss, aux = penalised_sums(coded, coded.output + params["b_dec"], step, hyper["l1"])
        return loss + hyper["bias_decay"] * params["b_enc"].norm(), aux

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_affine({**params, "W_dec": atoms(params["W_dec"])}, scaling, target)
