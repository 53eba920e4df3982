"""The skip transcoder: what is linear in the rows needs no features (Paulo et al. 2025, arXiv 2501.18823)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from sae.architecture import Aux, Hyper, Params, Size, Step, Trained
from sae.registry import register
from sae.scaling import Scaling

from .auxk import ALPHA
from .transcoder import Transcoder


@register("skip_transcoder")
@dataclass(frozen=True, kw_only=True)
class SkipTranscoder(Trained):
    """ŷ = f W_dec + b_dec + W_skip (x − center), with f and the loss of `transcoder`; W_skip [out, d] starts at zero.

    Codes explain what the linear map leaves. `decode` gives f W_dec + b_dec, `reconstruct` all of ŷ.
    """

    reads: ClassVar[Literal["row", "pair", "blocks"]] = "pair"
    swept: ClassVar[tuple[str, ...]] = ("l1", "k", "auxk")
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    buffers: ClassVar[tuple[str, ...]] = ("center",)

    gate: Annotated[Literal["relu", "topk"], "What makes codes sparse."] = "relu"
    l1: Annotated[float, "With the gate relu: weight of the sparsity penalty."] = 5.0
    k: Annotated[int, "With the gate topk: features kept in each row."] = 32
    auxk: Annotated[float, "With the gate topk: weight of the loss that revives dead features."] = ALPHA

    def __post_init__(self) -> None:
        self._transcoder()

    def check_use(self, size: Size, hyper: Mapping[str, float]) -> None:
        self._transcoder().check_use(size, hyper)

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {**self._transcoder().shapes(size), "W_skip": (size.out, size.d)}

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        params = self._transcoder().init(size, hyper, generator, sample=sample, share=share)
        return {**params, "W_skip": torch.zeros(size.out, size.d)}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return self._transcoder().encode(params, x, hyper)

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return self._transcoder().decode(params, codes, hyper)

    def reconstruct(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return self.decode(params, self.encode(params, x, hyper), hyper) + skipped(params, x)

    def directions(self, params: Params) -> Tensor:
        return self._transcoder().directions(params)

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        left = dataclasses.replace(step, target=step.target - skipped(params, step.x))
        return self._transcoder().loss(params, left, hyper)

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        """With z = s (x − c) and t the scale of y: W_skip ← W_skip s / t, and the rest as in `transcoder`."""
        folded = self._transcoder().fold(params, scaling, target)
        return {**folded, "W_skip": (params["W_skip"] * scaling.scale).mT.div(target.scale).mT}

    def _transcoder(self) -> Transcoder:
        return Transcoder(gate=self.gate, l1=self.l1, k=self.k, auxk=self.auxk)


def skipped(params: Params, x: Tensor) -> Tensor:
    """What the linear map predicts, [..., out]."""
    return (x - params["center"]) @ params["W_skip"].mT
