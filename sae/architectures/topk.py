"""TopK with AuxK (Gao et al. 2024, arXiv 2406.04093)."""

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

from .affine import Affine, affine_shapes, affine_start, fold_affine, pre_activations, training_bias
from .auxk import ALPHA, auxk


@register("topk")
@dataclass(frozen=True, kw_only=True)
class TopK(Affine):
    """u = W_enc (x − b_dec) + b_enc, f = relu of the k largest u of each row, x̂ = f W_dec + b_dec with ‖W_decᵢ‖ = 1.

    Loss = mean over rows of ‖x − x̂‖² + auxk · AuxK, where AuxK (auxk.py) lets dead features explain x − x̂.
    """

    swept: ClassVar[tuple[str, ...]] = ("k", "auxk")
    unit_rows: ClassVar[tuple[str, ...]] = ("W_dec",)

    k: Annotated[int, "Features kept in each row."] = 32
    auxk: Annotated[float, "Weight of the loss that revives dead features."] = ALPHA

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return affine_shapes(size)

    def check_use(self, size: Size, hyper: Mapping[str, float]) -> None:
        if not (1 <= hyper["k"] <= size.n and hyper["k"] == int(hyper["k"])):
            raise ValueError(f"k must be a whole number from 1 to the {size.n} features there are, not {hyper['k']:g}")

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        # k alone decides how many features fire, so no bias is needed.
        return affine_start(size, generator)

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        u = pre_activations(params, x)
        largest, places = u.topk(int(hyper["k"]), dim=-1)
        return torch.zeros_like(u).scatter(-1, places, torch.relu(largest))

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        gate = gates.TopK(hyper["k"])
        coded = step.coder(step.x, params["W_enc"], training_bias(params), params["W_dec"], gate)
        answer = coded.output + params["b_dec"]
        reconstruction = (answer - step.target).square().sum() / len(step.x)
        auxiliary = auxk(params, step, answer)
        loss = reconstruction + hyper["auxk"] * auxiliary
        return loss, {"firings": coded.firings, "reconstruction": reconstruction, "auxiliary": auxiliary}

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        check_one_length(params["W_dec"] / target.scale)
        return fold_affine(params, scaling, target)


def check_one_length(rows: Tensor) -> None:
    """Features compete by their codes; codes scaled by rows [n, out] of different lengths would compete differently."""
    lengths = rows.norm(dim=1)
    shortest, longest = float(lengths.min()), float(lengths.max())
    if longest > 1.01 * shortest:
        raise ValueError(
            f"decoder rows of a TopK dictionary must have one length, not from {shortest:.3g} to {longest:.3g}: "
            "at length 1 other features would be among the k largest"
        )
