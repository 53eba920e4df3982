"""The transcoder: features of one hook's rows predict those of another (Dunefsky et al. 2024, arXiv 2406.11944)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from sae import gates
from sae.architecture import Aux, Hyper, Params, Size, Step, Trained
from sae.registry import register
from sae.scaling import Scaling
from sae.start import random_directions, sparse_bias

from .affine import unit_directions
from .auxk import ALPHA, auxk
from .normalised import one_scale, penalised_sums

# Length of each decoder row at the start: nothing is known yet of the direction. In a toy (d 32, out 20, n 96, l1 1,
# 1500 steps) FVU and dead share were 0.154, 0 from 0.03; 0.156, 0 from 0.1; 0.158, 0.01 from 0.3; 0.173, 0.32 from 1.
START_NORM = 0.1


@register("transcoder")
@dataclass(frozen=True, kw_only=True)
class Transcoder(Trained):
    """u = W_enc (x − center) + b_enc, f = gate(u), ŷ = f W_dec + b_dec, y the row to predict; center is 0 in training.

    Gate "relu": f = relu(u), loss = mean over rows of ‖y − ŷ‖² + l1 Σᵢ fᵢ ‖W_decᵢ‖. The authors' penalty is Σᵢ fᵢ.
    Gate "topk": f = relu of the k features with the largest uᵢ ‖W_decᵢ‖, which are the largest contributions and so the
    same in all units; loss = mean over rows of ‖y − ŷ‖² + auxk · AuxK (auxk.py). Paulo et al. 2025 (arXiv 2501.18823)
    choose by u.
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
        if self.gate not in ("relu", "topk"):
            raise ValueError(f"the gate of a transcoder is relu or topk, not {self.gate!r}")

    def check_use(self, size: Size, hyper: Mapping[str, float]) -> None:
        if self.gate == "topk" and not (1 <= hyper["k"] <= size.n and hyper["k"] == int(hyper["k"])):
            raise ValueError(f"k must be a whole number from 1 to the {size.n} features there are, not {hyper['k']:g}")

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {
            "W_enc": (size.n, size.d),
            "b_enc": (size.n,),
            "W_dec": (size.n, size.out),
            "b_dec": (size.out,),
            "center": (size.d,),
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
        W_enc = random_directions(size.n, size.d, generator)
        # With topk k alone decides how many features fire, so no bias is needed.
        biased = sample is not None and self.gate == "relu"
        return {
            "W_enc": W_enc,
            "b_enc": sparse_bias(sample, W_enc, share) if biased and sample is not None else torch.zeros(size.n),
            "W_dec": START_NORM * random_directions(size.n, size.out, generator),
            "b_dec": torch.zeros(size.out),
            "center": torch.zeros(size.d),
        }

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        codes = torch.relu((x - params["center"]) @ params["W_enc"].mT + params["b_enc"])
        if self.gate == "relu":
            return codes
        places = (codes * params["W_dec"].norm(dim=1)).topk(int(hyper["k"]), dim=-1).indices
        return torch.zeros_like(codes).scatter(-1, places, codes.gather(-1, places))

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ params["W_dec"] + params["b_dec"]

    def directions(self, params: Params) -> Tensor:
        return params["W_dec"]

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        weighed = weighed_by_contribution(params)
        arguments = step.x, weighed["W_enc"], weighed["b_enc"], weighed["W_dec"]
        if self.gate == "relu":
            coded = step.coder(*arguments, gates.ReLU())
            return penalised_sums(coded, coded.output + params["b_dec"], step, hyper["l1"])
        coded = step.coder(*arguments, gates.TopK(hyper["k"]))
        answer = coded.output + params["b_dec"]
        reconstruction = (answer - step.target).square().sum() / len(step.x)
        auxiliary = auxk(weighed, step, answer)
        loss = reconstruction + hyper["auxk"] * auxiliary
        return loss, {"firings": coded.firings, "reconstruction": reconstruction, "auxiliary": auxiliary}

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        """r = ‖W_dec / t‖ with t the scale of y: W_enc ← r s W_enc, b_enc ← r b_enc, W_dec ← W_dec / (t r)."""
        if self.gate == "topk":
            one_scale(target)
        W_dec, r = unit_directions(params["W_dec"], target)
        return {
            **params,
            "W_enc": r[:, None] * params["W_enc"] * scaling.scale,
            "b_enc": r * params["b_enc"],
            "W_dec": W_dec,
            "b_dec": target.undo(params["b_dec"]),
            "center": scaling.undo(params["center"]),
        }


def weighed_by_contribution(params: Params) -> Params:
    """The same function with decoder rows of length 1, so that codes are lengths of contributions; for coders.

    `b_dec` [d] is what `auxk` subtracts from the rows that are read: nothing, because the bias sees to the center.
    """
    W_enc, W_dec = params["W_enc"], params["W_dec"]
    r = W_dec.norm(dim=1)
    return {
        "W_enc": r[:, None] * W_enc,
        "b_enc": r * (params["b_enc"] - W_enc @ params["center"]),
        "W_dec": W_dec / r.clamp(min=torch.finfo(r.dtype).tiny)[:, None],
        "b_dec": torch.zeros_like(params["center"]),
    }
