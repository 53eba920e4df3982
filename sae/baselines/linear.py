"""What most baselines share: u = W_enc (x − b_dec) + b_enc, f is u or relu(u) or the largest, x̂ = f W_dec + b_dec."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae.architecture import Fitted, Hyper, Params, Size
from sae.architectures.affine import fold_affine
from sae.scaling import Scaling


@dataclass(frozen=True, kw_only=True)
class Linear(Fitted):
    """f = u, or relu(u) where `is_positive`; with k > 0 all but the k largest |fᵢ| ‖W_decᵢ‖ of each row are 0."""

    swept: ClassVar[tuple[str, ...]] = ("k",)

    k: Annotated[int, "Features kept in each row, those that contribute most; 0 keeps all."] = 0

    @property
    @abstractmethod
    def is_positive(self) -> bool:
        """Whether codes are never negative."""

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {"W_enc": (size.n, size.d), "b_enc": (size.n,), "W_dec": (size.n, size.d), "b_dec": (size.d,)}

    def check(self, size: Size, hyper: Mapping[str, float]) -> None:
        super().check(size, hyper)
        self.check_width(size)

    def check_use(self, size: Size, hyper: Mapping[str, float]) -> None:
        if hyper["k"] != int(hyper["k"]) or not 0 <= hyper["k"] <= size.n:
            raise ValueError(
                f"k must be a whole number up to the {size.n} features there are, or 0 for all, not {hyper['k']:g}"
            )

    @abstractmethod
    def check_width(self, size: Size) -> None:
        """Raise ValueError if there cannot be that many features."""

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        u = (x - params["b_dec"]) @ params["W_enc"].mT + params["b_enc"]
        codes = torch.relu(u) if self.is_positive else u
        k = int(hyper["k"])
        return largest(codes, params["W_dec"].norm(dim=1), k) if k else codes

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ params["W_dec"] + params["b_dec"]

    def directions(self, params: Params) -> Tensor:
        return params["W_dec"]

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_affine(params, scaling, target)


def largest(codes: Tensor, lengths: Tensor, k: int) -> Tensor:
    """Codes [..., n], of either sign, where only the k that contribute most are left; directions have `lengths` [n]."""
    places = (codes.abs() * lengths).topk(k, dim=-1).indices
    return torch.zeros_like(codes).scatter(-1, places, codes.gather(-1, places))


def as_params(W_enc: Tensor, W_dec: Tensor, mean: Tensor, *, b_enc: Tensor | None = None) -> Params:
    """Float32, with no biases unless given."""
    b_enc = torch.zeros(len(W_enc)) if b_enc is None else b_enc
    params = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": mean}
    # Copies: two parameters may be one matrix.
    return {name: p.to("cpu", torch.float32, copy=True).contiguous() for name, p in params.items()}


def both_signs(matrix: Tensor) -> Tensor:
    """[V; −V]: with codes that are never negative, a component is told apart from its opposite."""
    return torch.cat([matrix, -matrix])


def check_components(size: Size, *, split: bool, name: str) -> None:
    """There are at most d components, and twice as many features where each is split into its two signs."""
    most = 2 * size.d if split else size.d
    if size.n > most:
        raise ValueError(f"{name} of rows of width {size.d} has at most {most} features, not {size.n}; ask for fewer")
    if split and size.n % 2:
        raise ValueError(f"{name} split into signs has an even number of features, not {size.n}; add or drop one")


def standard_deviations(rows: Tensor) -> Tensor:
    """Of each coordinate [d]; 1 for those that do not vary."""
    deviations = rows.std(0, correction=0)
    return torch.where(deviations > 0, deviations, 1.0)


def check_rows(rows: Tensor, least: int) -> None:
    if len(rows) < least:
        raise ValueError(f"a fit needs at least {least} rows, not {len(rows)}; give more of the store")
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("the rows to fit contain NaN or infinity; look for damaged or overflowing activations")
