"""Reconstruction ICA (Le, Karpenko, Ngiam & Ng 2011), as in the code of Cunningham et al. 2023."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling
from sae.start import random_directions

from .normalised import Normalised, one_scale, squared_error


@register("rica")
@dataclass(frozen=True, kw_only=True)
class Rica(Normalised):
    """c = W_dec (x − b_dec), x̂ = c W_dec + b_dec; codes fᵢ = cᵢ ‖W_decᵢ‖, of either sign, so that x̂ = f D + b_dec.

    Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ g(cᵢ). With "smooth_l1" g(c) is c² / 2 where |c| < 1, else |c| − ½; it is
    |c| with "l1". In units of training, where b_dec is 0. The authors average g over features: their coefficient
    converts with d / n in place of d (normalised.py). Every feature fires on every row: sparsity is a matter of degree.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 1.0
    penalty: Annotated[Literal["smooth_l1", "l1"], "What is penalised of a code."] = "smooth_l1"

    def __post_init__(self) -> None:
        if self.penalty not in ("smooth_l1", "l1"):
            raise ValueError(f"the penalty of RICA is smooth_l1 or l1, not {self.penalty!r}")

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {"W_dec": (size.n, size.d), "b_dec": (size.d,)}

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        # Rows of this length make W_decᵀ W_dec the identity on average where there are at least d of them.
        length = min(1.0, size.d / size.n) ** 0.5
        return {"W_dec": length * random_directions(size.n, size.d, generator), "b_dec": torch.zeros(size.d)}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        lengths: Tensor = params["W_dec"].norm(dim=1)
        return projections(params, x) * lengths

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        c = projections(params, step.x)
        reconstruction = squared_error(c @ params["W_dec"] + params["b_dec"], step.target)
        of_each = smooth_l1_loss(c, torch.zeros_like(c), reduction="none") if self.penalty == "smooth_l1" else c.abs()
        sparsity = of_each.sum() / len(step.x)
        firings = (c != 0).detach().sum(-2, dtype=c.dtype)
        loss = reconstruction + hyper["l1"] * sparsity
        return loss, {"firings": firings, "reconstruction": reconstruction, "sparsity": sparsity}

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        # Linear: with W_dec as it is, codes of x − c are those of s (x − c) divided by s. Rows keep their length.
        one_scale(scaling)
        return {**params, "b_dec": scaling.undo(params["b_dec"])}


def projections(params: Params, x: Tensor) -> Tensor:
    """c [..., n]."""
    return (x - params["b_dec"]) @ params["W_dec"].mT
