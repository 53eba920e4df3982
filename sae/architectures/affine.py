"""The common shape: u = W_enc (x − b_dec) + b_enc, f = gate(u), x̂ = f W_dec + b_dec."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sae.architecture import Hyper, Params, Size, Trained
from sae.linear import linear
from sae.scaling import Scaling
from sae.start import random_directions


@dataclass(frozen=True, kw_only=True)
class Affine(Trained):
    """x̂ = f W_dec + b_dec; how f comes about is the architecture's."""

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ params["W_dec"] + params["b_dec"]

    def directions(self, params: Params) -> Tensor:
        return params["W_dec"]


def affine_shapes(size: Size) -> dict[str, tuple[int, ...]]:
    return {"W_enc": (size.n, size.d), "b_enc": (size.n,), "W_dec": (size.n, size.d), "b_dec": (size.d,)}


def affine_start(size: Size, generator: torch.Generator, *, length: float = 1.0) -> Params:
    """Random directions of one length, read and written by equal matrices; no biases."""
    W_dec = length * random_directions(size.n, size.d, generator)
    return {"W_enc": W_dec.clone(), "b_enc": torch.zeros(size.n), "W_dec": W_dec, "b_dec": torch.zeros(size.d)}


def pre_activations(params: Params, x: Tensor) -> Tensor:
    """u [..., n] of rows [..., d]."""
    # The subtraction comes first: in model units b_dec carries the mean of the rows, which can be large.
    return linear(x - params["b_dec"], params["W_enc"], params["b_enc"])


def training_bias(params: Params) -> Tensor:
    """[n], with which u = W_enc x + bias: for coders, which take rows as they are.

    Exact enough in training, where rows are centred and b_dec is small.
    """
    return params["b_enc"] - params["W_enc"] @ params["b_dec"]


def fold_affine(params: Params, scaling: Scaling, target: Scaling) -> Params:
    """Parameters in model units with decoder rows of length 1; a "threshold" or "log_threshold" [n] follows the codes.

    With z = s (x − c) and decoder rows of length r in model units, r = ‖W_dec / s‖, codes become r times as large:
    W_enc ← r s W_enc, b_enc ← r b_enc, θ ← r θ, W_dec ← W_dec / (s r), b_dec ← b_dec / s + c. `scale` is one number or
    one for each coordinate. A row of length 0 stays 0, and so do its codes.
    """
    W_dec, r = unit_directions(params["W_dec"], target)
    folded = {
        **params,
        "W_enc": r[:, None] * params["W_enc"] * scaling.scale,
        "b_enc": r * params["b_enc"],
        "W_dec": W_dec,
        "b_dec": scaling.undo(params["b_dec"]),
    }
    if "threshold" in params:
        folded["threshold"] = r * params["threshold"]
    if "log_threshold" in params:
        folded["log_threshold"] = r.log() + params["log_threshold"]
    return folded


def unit_directions(W_dec: Tensor, target: Scaling) -> tuple[Tensor, Tensor]:
    """Decoder rows [n, out] in model units at length 1, and the lengths [n] they had there."""
    rows = W_dec / target.scale
    lengths = rows.norm(dim=1)
    return rows / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)[:, None], lengths
