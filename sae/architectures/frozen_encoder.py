"""A control of `relu`: features that nobody trained to fire where they do (Korznikov et al. 2026, arXiv 2602.14111)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling

from .affine import Affine, affine_shapes, fold_affine, pre_activations
from .relu import penalised, start


@register("frozen_encoder")
@dataclass(frozen=True, kw_only=True)
class FrozenEncoder(Affine):
    """As `relu`, W_enc staying as it was drawn: how rarely a feature fires is learned, and what it writes then."""

    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    buffers: ClassVar[tuple[str, ...]] = ("W_enc",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return affine_shapes(size)

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        return start(size, generator, sample, share)

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return torch.relu(pre_activations(params, x))

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        return penalised(params, step, hyper["l1"])

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_affine(params, scaling, target)
