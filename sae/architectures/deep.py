"""2023's experiment with a deep encoder that sees its own answer; source and units: normalised.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import gelu, softplus

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling
from sae.start import bias_for_share, random_directions

from .normalised import Normalised, atoms, one_scale, penalised
from .semilinear import xavier


@register("deep")
@dataclass(frozen=True, kw_only=True)
class Deep(Normalised):
    """With z = scale · (x − b_dec) and v₀ = softplus(W_enc z + b_enc), for each layer l = 1 … L with 2n hidden units:

    h = gelu(W_codeₗ vₗ₋₁ + W_rowₗ z + W_answerₗ (vₗ₋₁ D) + b_hiddenₗ), vₗ = vₗ₋₁ + W_outₗ h + b_outₗ.
    f = relu(v_L) / scale, x̂ = f D + b_dec. Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ; b_dec is learned, `scale`
    is 1 in training. The authors' v_L has no ReLU, so that no code is ever zero. Their other experiment decodes by a
    network and is no dictionary. Matrices of a layer are [2n, n]: for dictionaries of a few thousand features.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    # softplus and gelu know a scale, so rows in model units are brought back to those of training.
    buffers: ClassVar[tuple[str, ...]] = ("scale",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0
    layers: Annotated[int, "Layers that correct the codes."] = 1

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"a deep encoder needs at least one layer, not {self.layers}")

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        layers, n, hidden = self.layers, size.n, 2 * size.n
        return {
            "W_enc": (n, size.d),
            "b_enc": (n,),
            "W_code": (layers, hidden, n),
            "W_row": (layers, hidden, size.d),
            "W_answer": (layers, hidden, size.d),
            "b_hidden": (layers, hidden),
            "W_out": (layers, n, hidden),
            "b_out": (layers, n),
            "W_dec": (n, size.d),
            "b_dec": (size.d,),
            "scale": (),
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
        params = {
            name: torch.stack([xavier((shape[-2], shape[-1]), generator) for _ in range(self.layers)])
            if len(shape) == 3
            else torch.zeros(shape)
            for name, shape in self.shapes(size).items()
        }
        W_dec = random_directions(size.n, size.d, generator)
        params.update({"W_dec": W_dec, "W_enc": W_dec.clone(), "scale": torch.ones(())})
        if sample is not None:
            params["b_out"][-1] = bias_for_share(self._corrected(params, sample).T, share)
        return params

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        z = params["scale"] * (x - params["b_dec"])
        return torch.relu(self._corrected(params, z)) / params["scale"]

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        codes = self.encode(params, step.x, hyper)
        return penalised(codes, self.decode(params, codes, hyper), step, hyper["l1"])

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return {
            **params,
            "W_dec": atoms(params["W_dec"]),
            "b_dec": scaling.undo(params["b_dec"]),
            "scale": params["scale"] * one_scale(scaling),
        }

    def _corrected(self, params: Params, z: Tensor) -> Tensor:
        """v_L [..., n]."""
        D = atoms(params["W_dec"])
        v = softplus(z @ params["W_enc"].mT + params["b_enc"])
        for layer in range(self.layers):
            of_codes = v @ params["W_code"][layer].mT + (v @ D) @ params["W_answer"][layer].mT
            read = of_codes + z @ params["W_row"][layer].mT + params["b_hidden"][layer]
            v = v + gelu(read) @ params["W_out"][layer].mT + params["b_out"][layer]
        return v
