"""The common shape of the dictionaries of 2023: directions D are the rows of W_dec at length 1, x̂ = f D + b_dec.

Source of all that are built on it: the code of Cunningham et al. 2023 (arXiv 2309.08600), HoagyC/sparse_coding.

Weights. There the squared error is a mean over rows and coordinates, of rows as the model made them; here it is a sum
over coordinates and a mean over rows, of rows scaled by s to E‖z‖² = d. As codes scale with the rows, an l1_alpha or
bias_decay of theirs is l1 = d · s · l1_alpha or bias_decay = d · s · bias_decay here, where their loss is multiplied by
d · s² and s is `Scaling.scale`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from sae.architecture import Aux, Hyper, Params, Step, Trained
from sae.coder import Coded
from sae.scaling import Scaling

# Shortest row that is brought to length 1; the guard of the authors' code.
LEAST_NORM = 1e-8


@dataclass(frozen=True, kw_only=True)
class Normalised(Trained):
    """x̂ = f D + b_dec; how f comes about is the architecture's. b_dec is 0 in training, where rows are centred."""

    buffers: ClassVar[tuple[str, ...]] = ("b_dec",)

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ atoms(params["W_dec"]) + params["b_dec"]

    def directions(self, params: Params) -> Tensor:
        return atoms(params["W_dec"])


def atoms(W_dec: Tensor) -> Tensor:
    """D: the rows at length 1; a row of zeros stays zero."""
    return normalize(W_dec, dim=-1, eps=LEAST_NORM)


def squared_error(answer: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of ‖x − x̂‖²."""
    return (answer - target).square().sum() / len(target)


def penalised(codes: Tensor, answer: Tensor, step: Step, l1: Tensor) -> tuple[Tensor, Aux]:
    """Mean over rows of ‖x − x̂‖² + l1 Σᵢ |fᵢ|, for codes [B, n] that no coder computes; what is not 0 fires."""
    reconstruction = squared_error(answer, step.target)
    sparsity = codes.abs().sum() / len(step.target)
    firings = (codes != 0).detach().sum(-2, dtype=codes.dtype)
    loss = reconstruction + l1 * sparsity
    return loss, {"firings": firings, "reconstruction": reconstruction, "sparsity": sparsity}


def penalised_sums(coded: Coded, answer: Tensor, step: Step, l1: Tensor) -> tuple[Tensor, Aux]:
    """The same loss of codes that a coder computed."""
    reconstruction = squared_error(answer, step.target)
    sparsity = coded.sums.sum() / len(step.target)
    loss = reconstruction + l1 * sparsity
    return loss, {"firings": coded.firings.detach(), "reconstruction": reconstruction, "sparsity": sparsity}


def fold_homogeneous(params: Params, scaling: Scaling, *in_units_of_codes: str) -> Params:
    """For encoders with f(x / s) = f(x) / s once the named parameters are divided by s too: then only these change.

    With z = s (x − c) and directions of length 1, codes in model units are those of training divided by s.
    """
    s = one_scale(scaling)
    folded = {**params, "W_dec": atoms(params["W_dec"]), "b_dec": scaling.undo(params["b_dec"])}
    return {**folded, **{name: params[name] / s for name in in_units_of_codes}}


def one_scale(scaling: Scaling) -> float:
    if isinstance(scaling.scale, Tensor):
        raise ValueError(
            "an encoder that shares its matrix with the decoder cannot take one scale for each coordinate; "
            "scale all coordinates alike, or use a crosscoder for several hooks"
        )
    return scaling.scale
