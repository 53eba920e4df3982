"""Gated: whether a feature fires is learned apart from how much (Rajamanoharan et al. 2024a, arXiv 2404.16014)."""

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

from .affine import Affine, affine_start, unit_directions

# A window around a threshold that does not learn: as good as none, and a coder need not look for codes in it.
NO_WINDOW = 1e-6


@register("gated")
@dataclass(frozen=True, kw_only=True)
class Gated(Affine):
    """w = W_enc (x − b_dec), π = w + b_gate, m = e^r_mag w + b_mag, f = relu(m) where π > 0, else 0.

    x̂ = f W_dec + b_dec with ‖W_decᵢ‖ = 1. Loss = mean over rows of
    ‖x − x̂‖² + l1 Σᵢ relu(πᵢ) + ‖x − x̂_frozen(relu(π))‖²: x̂_frozen decodes with the same decoder, but no gradient
    reaches it from there. No gradient passes the gate either; the last two terms are what it learns from.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    unit_rows: ClassVar[tuple[str, ...]] = ("W_dec",)

    l1: Annotated[float, "Weight of the sparsity penalty on the gate."] = 5.0

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        matrix, feature = (size.n, size.d), (size.n,)
        return {
            "W_enc": matrix,
            "b_gate": feature,
            "b_mag": feature,
            "r_mag": feature,
            "W_dec": matrix,
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
        start = affine_start(size, generator)
        bias = start.pop("b_enc") if sample is None else sparse_bias(sample, start["W_enc"], share)
        return {
            "W_enc": start["W_enc"],
            "b_gate": bias,
            "b_mag": bias.clone(),
            "r_mag": torch.zeros(size.n),
            "W_dec": start["W_dec"],
            "b_dec": start["b_dec"],
        }

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        w = (x - params["b_dec"]) @ params["W_enc"].mT
        magnitude = torch.relu(w * params["r_mag"].exp() + params["b_mag"])
        return torch.where(w + params["b_gate"] > 0, magnitude, 0.0)

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        W_enc, W_dec, b_dec, r = params["W_enc"], params["W_dec"], params["b_dec"], params["r_mag"].exp()
        shift = W_enc @ b_dec
        # π > 0 means w > −b_gate, which is m > b_mag − r b_gate: with relu a JumpReLU whose threshold has no gradient.
        threshold = torch.relu(params["b_mag"] - r * params["b_gate"]).detach()
        jump = gates.JumpReLU(threshold, torch.full_like(hyper["l1"], NO_WINDOW))
        coded = step.coder(step.x, r[:, None] * W_enc, params["b_mag"] - r * shift, W_dec, jump)
        gate = step.coder(step.x, W_enc, params["b_gate"] - shift, W_dec.detach(), gates.ReLU())
        n_rows = len(step.x)
        reconstruction = (coded.output + b_dec - step.target).square().sum() / n_rows
        auxiliary = (gate.output + b_dec.detach() - step.target).square().sum() / n_rows
        sparsity = gate.sums.sum() / n_rows
        return reconstruction + hyper["l1"] * sparsity + auxiliary, {
            "firings": coded.firings.detach(),
            "reconstruction": reconstruction,
            "sparsity": sparsity,
            "auxiliary": auxiliary,
        }

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        """As fold_affine for m: e^r_mag ← ‖row‖ e^r_mag, b_mag ← ‖row‖ b_mag. π is the same number in any units.

        A row of length 0 stays 0, and so do its codes: its π becomes 0, because no r_mag makes its m that.
        """
        W_dec, lengths = unit_directions(params["W_dec"], target)
        some = lengths > 0
        return {
            "W_enc": torch.where(some[:, None], params["W_enc"] * scaling.scale, 0.0),
            "b_gate": torch.where(some, params["b_gate"], 0.0),
            "b_mag": lengths * params["b_mag"],
            "r_mag": torch.where(some, lengths, 1.0).log() + params["r_mag"],
            "W_dec": W_dec,
            "b_dec": scaling.undo(params["b_dec"]),
        }
