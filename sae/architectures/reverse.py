"""The tied autoencoder of 2023 whose active codes give their bias back; source and units: normalised.py."""

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
from sae.start import random_directions, sparse_bias

from .normalised import Normalised, atoms, fold_homogeneous, penalised_sums


@register("reverse")
@dataclass(frozen=True, kw_only=True)
class Reverse(Normalised):
    """u = D (x − b_dec), f = u where u + b_enc > 0 and u > 0, else 0; x̂ = f D + b_dec with b_dec = 0 in training.

    Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ. In 2023: c = relu(u + b), then c − b where c > 0. Two things differ.
    The derivative in b cancels, so nothing but bias_decay moved it, and that to zero: b_enc is a constant here, chosen
    at the start so that each feature fires on its share of the rows (0 without a sample). Codes are never negative.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    buffers: ClassVar[tuple[str, ...]] = ("b_dec", "b_enc")

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0

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
        W_dec = random_directions(size.n, size.d, generator)
        b_enc = torch.zeros(size.n) if sample is None else sparse_bias(sample, W_dec, share)
        return {"W_dec": W_dec, "b_enc": b_enc, "b_dec": torch.zeros(size.d)}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        u = (x - params["b_dec"]) @ atoms(params["W_dec"]).mT
        return torch.where(u > -params["b_enc"], torch.relu(u), 0.0)

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        D = atoms(params["W_dec"])
        threshold = torch.relu(-params["b_enc"])
        # The bandwidth is of the threshold's pretended derivative, which a constant has no use for.
        gate = gates.JumpReLU(threshold, torch.ones_like(hyper["l1"]))
        coded = step.coder(step.x, D, -D @ params["b_dec"], D, gate)
        return penalised_sums(coded, coded.output + params["b_dec"], step, hyper["l1"])

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_homogeneous(params, scaling, "b_enc")
