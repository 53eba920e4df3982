"""The tied autoencoder of 2023 with a learned centre; source and units: normalised.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae.architecture import Aux, Hyper, Params, Size, Step, Trained
from sae.registry import register
from sae.scaling import Scaling

from .tied import Tied


@register("tied_centred")
@dataclass(frozen=True, kw_only=True)
class TiedCentred(Trained):
    """`tied`, except that `center` is learned, from 0: z = x − center, f = relu(D z + b_enc), x̂ = f D + center.

    With `whiten`, z = A (x − center). The authors' buffers hold the eigenvectors as columns and multiply by them
    untransposed, so that their z is not white (tests/test_sae_architectures_2023.py); A = Λ^(−½) Vᵀ here.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1", "bias_decay")
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    buffers: ClassVar[tuple[str, ...]] = ("whitening", "unwhitening", "length")

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0
    bias_decay: Annotated[float, "Weight of the length of the encoder bias."] = 0.0
    whiten: Annotated[bool, "Learn in coordinates in which the rows of the sample are white."] = False

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return self._tied().shapes(size)

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        return self._tied().init(size, hyper, generator, sample=sample, share=share)

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return self._tied().encode(params, x, hyper)

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return self._tied().decode(params, codes, hyper)

    def directions(self, params: Params) -> Tensor:
        return self._tied().directions(params)

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        return self._tied().loss(params, step, hyper)

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return self._tied().fold(params, scaling, target)

    def _tied(self) -> Tied:
        return Tied(whiten=self.whiten)
