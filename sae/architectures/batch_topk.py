"""BatchTopK (Bussmann et al. 2024, arXiv 2412.06410)."""

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

# Of the running threshold each step keeps this share. The paper averages over training; published trainers keep 0.99 or
# 0.999. The least of B · k codes hardly varies between batches, and short trainings need a threshold soon.
MEMORY = 0.99


@register("batch_topk")
@dataclass(frozen=True, kw_only=True)
class BatchTopK(Affine):
    """u = W_enc (x − b_dec) + b_enc, x̂ = f W_dec + b_dec with ‖W_decᵢ‖ = 1.

    In training f = relu of the B · k largest u of a batch of B rows; afterwards f = relu(u) where u > θ, else 0, with θ
    the running mean of the least positive code of each batch.
    Loss = mean over rows of ‖x − x̂‖² + auxk · AuxK, where AuxK (auxk.py) lets dead features explain x − x̂.
    """

    swept: ClassVar[tuple[str, ...]] = ("k", "auxk")
    buffers: ClassVar[tuple[str, ...]] = ("threshold",)
    unit_rows: ClassVar[tuple[str, ...]] = ("W_dec",)

    k: Annotated[float, "Mean number of features kept in a row."] = 32.0
    auxk: Annotated[float, "Weight of the loss that revives dead features."] = ALPHA

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        # One number in training; in model units each feature has its own, because each code has its own unit.
        return {**affine_shapes(size), "threshold": (size.n,)}

    def check(self, size: Size, hyper: Mapping[str, float]) -> None:
        super().check(size, hyper)
        check_mean_k(size, hyper["k"])

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        return {**affine_start(size, generator), "threshold": torch.zeros(size.n)}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return above(params["threshold"], pre_activations(params, x))

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        gate = gates.BatchTopK(hyper["k"])
        coded = step.coder(step.x, params["W_enc"], training_bias(params), params["W_dec"], gate)
        answer = coded.output + params["b_dec"]
        reconstruction = (answer - step.target).square().sum() / len(step.x)
        auxiliary = auxk(params, step, answer)
        return reconstruction + hyper["auxk"] * auxiliary, {
            "firings": coded.firings,
            "buffers": {"threshold": running(params["threshold"], coded.least)},
            "reconstruction": reconstruction,
            "auxiliary": auxiliary,
        }

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_affine(params, scaling, target)


def above(threshold: Tensor, u: Tensor) -> Tensor:
    """Codes [..., n]: u where it is positive and above its threshold [n]."""
    return torch.where(u > threshold, torch.relu(u), 0.0)


def running(threshold: Tensor, least: Tensor) -> Tensor:
    """θ ← MEMORY θ + (1 − MEMORY) least, beginning with the first batch that fires; 0 means none has."""
    mean = torch.where(threshold > 0, MEMORY * threshold + (1 - MEMORY) * least, least)
    return torch.where(torch.isfinite(least), mean, threshold)


def check_mean_k(size: Size, k: float) -> None:
    if not 0 < k <= size.n:
        raise ValueError(f"k must be above 0 and at most the {size.n} features there are, not {k:g}")
