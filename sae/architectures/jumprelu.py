"""JumpReLU with an L0 penalty (Rajamanoharan et al. 2024b, arXiv 2407.14435)."""

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

# The least threshold at the start, and all of them without a sample. The paper's 0.001 is for E‖x‖² = 1; here
# pre-activations are √d times larger, which for its widths (2304, 3584) makes 0.05. So with its bandwidth of 0.001.
LEAST_THRESHOLD = 0.05


@register("jumprelu")
@dataclass(frozen=True, kw_only=True)
class JumpReLU(Affine):
    """u = W_enc (x − b_dec) + b_enc, f = u where u > θ, else 0, x̂ = f W_dec + b_dec, with θ > 0 and ‖W_decᵢ‖ = 1.

    With L0 = mean over rows of the number of active features: loss = mean over rows of ‖x − x̂‖² + penalty + revival.
    With a target penalty = l0_weight · d · (L0 / target_l0 − 1)², without (target_l0 0) l0_weight · L0. The first is d
    times that of published trainers, as the reconstruction is in units of E‖x‖² = d.
    θ = exp(log_threshold) learns by pretended derivatives (sae/gates.py).
    Revival = pre_act · Σᵢ over dead features of mean over rows of relu(θᵢ − uᵢ) ‖W_decᵢ‖ (Anthropic, Circuits Updates,
    January 2025, there for all features).
    """

    swept: ClassVar[tuple[str, ...]] = ("target_l0", "l0_weight", "bandwidth", "pre_act")
    penalties: ClassVar[tuple[str, ...]] = ("l0_weight",)
    unit_rows: ClassVar[tuple[str, ...]] = ("W_dec",)

    target_l0: Annotated[float, "Mean number of active features in a row to aim at; 0 for none."] = 32.0
    l0_weight: Annotated[float, "Weight of the penalty: of the distance to the target, or of L0 itself."] = 1.0
    bandwidth: Annotated[float, "Width of the window around a threshold in which it learns."] = 0.05
    pre_act: Annotated[float, "Weight of the loss that revives dead features."] = 3e-6

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {**affine_shapes(size), "log_threshold": (size.n,)}

    def check(self, size: Size, hyper: Mapping[str, float]) -> None:
        super().check(size, hyper)
        if hyper["bandwidth"] == 0:
            raise ValueError("the bandwidth must be above 0: without a window no threshold learns")
        if hyper["target_l0"] > size.n:
            raise ValueError(f"target_l0 must be at most the {size.n} features there are, not {hyper['target_l0']:g}")

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
        threshold = torch.full((size.n,), LEAST_THRESHOLD)
        if sample is not None:
            # The threshold makes a feature rare, not the bias: so codes are not shortened. Where more than half of the
            # rows should fire the threshold would not be positive, and the bias does the rest.
            wanted = -sparse_bias(sample, params["W_enc"], share)
            threshold = wanted.clamp(min=LEAST_THRESHOLD)
            params["b_enc"] = threshold - wanted
        return {**params, "log_threshold": threshold.log()}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        u = pre_activations(params, x)
        return torch.where(u > params["log_threshold"].exp(), u, 0.0)

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        threshold, bias = params["log_threshold"].exp(), training_bias(params)
        gate = gates.JumpReLU(threshold, hyper["bandwidth"])
        coded = step.coder(step.x, params["W_enc"], bias, params["W_dec"], gate)
        n_rows, d = step.target.shape
        reconstruction = (coded.output + params["b_dec"] - step.target).square().sum() / n_rows
        penalty = hyper["l0_weight"] * _price(coded.firings.sum() / n_rows, hyper["target_l0"], d)
        # Of a feature silent in the batch relu(θ − u) is θ − u on every row, and its mean needs the mean row alone.
        silent = step.dead & (coded.firings.detach() == 0)
        distance = threshold - (params["W_enc"] @ step.x.mean(0) + bias)
        revival = torch.where(silent, distance * params["W_dec"].norm(dim=1), 0.0).sum()
        return reconstruction + penalty + hyper["pre_act"] * revival, {
            "firings": coded.firings.detach(),
            "reconstruction": reconstruction,
            "penalty": penalty,
            "revival": revival,
        }

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_affine(params, scaling, target)


def _price(l0: Tensor, target: Tensor, d: int) -> Tensor:
    aimed = target > 0
    return torch.where(aimed, d * (l0 / torch.where(aimed, target, 1.0) - 1).square(), l0)
