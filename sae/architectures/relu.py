"""The ReLU autoencoder with an L1 penalty weighted by decoder norms (Anthropic, Circuits Updates, April 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae.architecture import Architecture, Aux, Hyper, Params
from sae.registry import register
from sae.scaling import Scaling
from sae.start import random_directions, sparse_bias

# Length of each decoder row at the start. The loss is free to change it, because the penalty is weighted by it.
# On 113k residual rows of SmolLM2 (layer 9, n 1152, B 1024, 220 steps, lr 1e-3; l1 2, 5, 10) the last training losses
# were 222, 305, 391 from 0.1; 216, 292, 382 from 0.3; 218, 290, 422 from 1.0, with a quarter dead at l1 10. One seed.
START_NORM = 0.3


@register("relu")
@dataclass(frozen=True, kw_only=True)
class ReLU(Architecture):
    """f = relu(W_enc (x − b_dec) + b_enc), x̂ = f W_dec + b_dec, loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ ‖W_decᵢ‖.

    Rows must be centred and scaled to E‖x‖² = d first, so that one l1 means the same at every hook.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0

    def shapes(self, *, d: int, width: int) -> dict[str, tuple[int, ...]]:
        return {"W_enc": (width, d), "b_enc": (width,), "W_dec": (width, d), "b_dec": (d,)}

    def init(
        self, *, d: int, width: int, generator: torch.Generator, sample: Tensor | None = None, share: float = 0.02
    ) -> Params:
        W_dec = START_NORM * random_directions(width, d, generator)
        b_enc = torch.zeros(width) if sample is None else sparse_bias(sample, W_dec, share)
        return {"W_enc": W_dec.clone(), "b_enc": b_enc, "W_dec": W_dec, "b_dec": torch.zeros(d)}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        # The subtraction comes first: in model units b_dec carries the mean of the rows, which can be large.
        return torch.relu((x - params["b_dec"]) @ params["W_enc"].mT + params["b_enc"])

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ params["W_dec"] + params["b_dec"]

    def loss(self, params: Params, x: Tensor, hyper: Hyper) -> tuple[Tensor, Aux]:
        # The same codes as encode's, but x − b_dec would cost a sixth product of B·d·n in the backward pass; here b_dec
        # is small, because training rows are centred. Sums over rows come before the products with norms, so that no
        # [B, n] temporary is made for them.
        bias = params["b_enc"] - params["W_enc"] @ params["b_dec"]
        codes = torch.relu(x @ params["W_enc"].mT + bias)
        residual = codes @ params["W_dec"] + params["b_dec"] - x
        reconstruction = residual.square().sum() / len(x)
        sparsity = (codes.sum(0) @ params["W_dec"].norm(dim=1)) / len(x)
        loss = reconstruction + hyper["l1"] * sparsity
        return loss, {"codes": codes, "reconstruction": reconstruction, "sparsity": sparsity}

    def fold(self, params: Params, scaling: Scaling) -> Params:
        norm = params["W_dec"].norm(dim=1)
        return {
            "W_enc": norm[:, None] * params["W_enc"],
            "b_enc": norm * params["b_enc"] / scaling.scale,
            "W_dec": params["W_dec"] / norm.clamp(min=torch.finfo(norm.dtype).tiny)[:, None],
            "b_dec": scaling.undo(params["b_dec"]),
        }

    def directions(self, params: Params) -> Tensor:
        return params["W_dec"]
