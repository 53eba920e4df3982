"""The penalty Σ f^p with p annealed below 1 (Karvonen et al. 2024, arXiv 2408.00113)."""

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


@register("p_anneal")
@dataclass(frozen=True, kw_only=True)
class PAnneal(Affine):
    """f = relu(W_enc (x − b_dec) + b_enc), x̂ = f W_dec + b_dec with ‖W_decᵢ‖ = 1.

    Loss = mean over rows of ‖x − x̂‖² + λ(p) Σᵢ fᵢ^p. p is 1 up to the share `anneal_start` of training, then falls on
    a line to p_end. λ(1) = l1. Whenever the paper lowers p to p', it sets λ' so that the penalty is as strong as before
    on recent codes, λ' Σ f^p' = λ Σ f^p. Done in every step this is λ(p) = l1 Σ f / Σ f^p on the codes of the batch, a
    constant to the gradient. The penalty has the value of an L1 penalty, but small codes pay more and large ones less.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1", "p_end", "anneal_start")
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    unit_rows: ClassVar[tuple[str, ...]] = ("W_dec",)
    needs_an_end: ClassVar[bool] = True

    l1: Annotated[float, "Weight of the sparsity penalty, as of an L1 penalty."] = 5.0
    p_end: Annotated[float, "The exponent at the end of training."] = 0.2
    anneal_start: Annotated[float, "The share of training after which the exponent falls."] = 0.1

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return affine_shapes(size)

    def check(self, size: Size, hyper: Mapping[str, float]) -> None:
        super().check(size, hyper)
        if not 0 < hyper["p_end"] <= 1:
            raise ValueError(f"p_end must be above 0 and at most 1, not {hyper['p_end']:g}")
        if not hyper["anneal_start"] < 1:
            raise ValueError(f"anneal_start is a share of training and must be below 1, not {hyper['anneal_start']:g}")

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
        p = exponent(step.progress, hyper["anneal_start"], hyper["p_end"])
        W_dec, bias = params["W_dec"], training_bias(params)
        # A decoder column of ones sums the codes of each row, beside the sums of their powers.
        with_ones = torch.cat([W_dec, torch.ones_like(W_dec[:, :1])], dim=1)
        coded = step.coder(step.x, params["W_enc"], bias, with_ones, gates.ReLU(), power=p)
        n_rows = len(step.x)
        reconstruction = (coded.output[:, :-1] + params["b_dec"] - step.target).square().sum() / n_rows
        sparsity = coded.output[:, -1].detach().sum() / n_rows
        powers = coded.sums.sum() / n_rows
        strength = sparsity / powers.detach().clamp(min=torch.finfo(powers.dtype).tiny)
        loss = reconstruction + hyper["l1"] * strength * powers
        return loss, {"firings": coded.firings, "reconstruction": reconstruction, "sparsity": sparsity, "p": p.detach()}

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_affine(params, scaling, target)


def exponent(progress: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """p: 1 until `start`, then on a line to `end` at 1."""
    return 1 - (1 - end) * ((progress - start) / (1 - start)).clamp(0, 1)
