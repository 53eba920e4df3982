"""What other libraries train and no architecture of ours does, in inference form: it can be used, not trained.

`actpipe convert` takes this only where the architecture of the same name would not be exact: rows are normalised one by
one, or the k largest are chosen among codes whose decoder rows differ in length.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from sae.architecture import Architecture, Hyper, Params, Size
from sae.registry import register
from sae.scaling import Scaling

from .affine import unit_directions

GATES = ("relu", "topk", "jumprelu")
NORMALISATIONS = ("none", "center", "layer_norm", "length")
EPSILON = 1e-5  # added to the standard deviation, as by openai/sparse_autoencoder (model.py, LN) and SAELens


@dataclass(frozen=True, kw_only=True)
class Encoder(Architecture):
    """The two below share everything but what they reconstruct."""

    gate: Annotated[str, "relu, topk or jumprelu."] = "relu"
    k: Annotated[int, "Features that topk keeps in each row."] = 0
    normalise: Annotated[str, "What is done to each row: none, center, layer_norm or length."] = "none"
    skip: Annotated[bool, "Whether W_skip x is added to the answer."] = False

    @abstractmethod
    def __post_init__(self) -> None:
        """Raise ValueError where a field has no meaning."""

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {
            "W_enc": (size.n, size.d),
            "b_in": (size.d,),
            "b_enc": (size.n,),
            "length": (size.n,),
            "W_dec": (size.n, size.out),
            "b_dec": (size.out,),
            **({"threshold": (size.n,)} if self.gate == "jumprelu" else {}),
            **({"W_skip": (size.out, size.d)} if self.skip else {}),
        }

    def check_use(self, size: Size, hyper: Mapping[str, float]) -> None:
        if self.gate == "topk" and not (isinstance(self.k, int) and 1 <= self.k <= size.n):
            raise ValueError(f"k must be a whole number from 1 to the {size.n} features there are, not {self.k}")

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        z, _, spread = normalised(x, self.normalise)
        u = (z - params["b_in"]) @ params["W_enc"].mT + params["b_enc"]
        return self._gated(params, u) * params["length"] * spread

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        """What the codes contribute. Where rows are divided by their spread, b_dec is a part of `reconstruct` alone."""
        return codes @ params["W_dec"] + (params["b_dec"] if self.normalise in ("none", "center") else 0.0)

    def reconstruct(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        _, middle, spread = normalised(x, self.normalise)
        answer = self.encode(params, x, hyper) @ params["W_dec"] + params["b_dec"] * spread + middle
        return answer + x @ params["W_skip"].mT if self.skip else answer

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        """b_in ← b_in / s + c, W_enc ← s W_enc, b_dec ← b_dec / s' + c', length ← length · ‖W_dec / s'‖, W_dec unit."""
        if self.normalise != "none" and not (_is_identity(scaling) and _is_identity(target)):
            raise ValueError("rows that are normalised one by one cannot be centred and scaled as well")
        W_dec, r = unit_directions(params["W_dec"], target)
        folded = {
            **params,
            "W_enc": params["W_enc"] * scaling.scale,
            "b_in": scaling.undo(params["b_in"]),
            "length": params["length"] * r,
            "W_dec": W_dec,
            "b_dec": target.undo(params["b_dec"]),
        }
        if self.skip:
            # y = … + K s (x − c): the constant part goes into b_dec.
            K = (params["W_skip"].mT / target.scale).mT * scaling.scale
            folded |= {"W_skip": K, "b_dec": folded["b_dec"] - K @ scaling.center.to(K)}
        return folded

    def directions(self, params: Params) -> Tensor:
        return params["W_dec"]

    def _gated(self, params: Params, u: Tensor) -> Tensor:
        if self.gate == "topk":
            largest, places = u.topk(self.k, dim=-1)
            return torch.zeros_like(u).scatter(-1, places, torch.relu(largest))
        if self.gate == "jumprelu":
            return torch.where(u > params["threshold"], torch.relu(u), 0.0)
        return torch.relu(u)


@register("imported")
@dataclass(frozen=True, kw_only=True)
class Imported(Encoder):
    """z = (x − m) / s, u = W_enc (z − b_in) + b_enc, f = s · length · gate(u), x̂ = f W_dec + s b_dec + m (+ W_skip x).

    m and s are numbers of each row: 0 and 1 without normalisation; "center" m = mean of x; "layer_norm" m = mean of x,
    s = its standard deviation (N − 1, and 1e-5 is added where it divides); "length" s = ‖x‖ / √d. A code is the length
    of its feature's contribution to x̂; `length` is that of its decoder row before it was made 1, so that the gate sees
    the numbers the other library compares.
    """

    def __post_init__(self) -> None:
        check_fields(self.gate, self.normalise)


@register("imported_transcoder")
@dataclass(frozen=True, kw_only=True)
class ImportedTranscoder(Encoder):
    """As `imported`, without m and s, predicting the rows of another hook: ŷ = f W_dec + b_dec (+ W_skip x)."""

    reads: ClassVar[Literal["row", "pair", "blocks"]] = "pair"

    def __post_init__(self) -> None:
        check_fields(self.gate, self.normalise)
        if self.normalise != "none":
            raise ValueError("a transcoder cannot undo on its answers what was done to the rows it reads")


def normalised(x: Tensor, how: str) -> tuple[Tensor, Tensor, Tensor]:
    """Rows z [..., d], and what undoes it: x = z · spread + middle (each [..., 1])."""
    nothing, one = x.new_zeros(()), x.new_ones(())
    if how == "none":
        return x, nothing, one
    if how == "length":
        spread = x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5
        return x / spread.clamp(min=torch.finfo(x.dtype).tiny), nothing, spread
    middle = x.mean(dim=-1, keepdim=True)
    if how == "center":
        return x - middle, middle, one
    spread = (x - middle).norm(dim=-1, keepdim=True) / (x.shape[-1] - 1) ** 0.5
    # Not quite the inverse of what follows: the libraries multiply by the deviation without the 1e-5.
    return (x - middle) / (spread + EPSILON), middle, spread


def check_fields(gate: str, normalise: str) -> None:
    if gate not in GATES:
        raise ValueError(f"the gate is one of {', '.join(GATES)}, not {gate!r}")
    if normalise not in NORMALISATIONS:
        raise ValueError(f"rows are normalised by one of {', '.join(NORMALISATIONS)}, not {normalise!r}")


def _is_identity(scaling: Scaling) -> bool:
    return bool((torch.as_tensor(scaling.scale) == 1).all()) and not bool(scaling.center.any())
