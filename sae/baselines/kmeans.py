"""k-means as a dictionary: each row is answered by the nearest of n centroids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from sae.architecture import Fitted, Hyper, Params, Size
from sae.architectures.normalised import one_scale
from sae.registry import register
from sae.scaling import Scaling

from .classical import scikit_learn, seed_from
from .linear import check_rows


@register("kmeans")
@dataclass(frozen=True, kw_only=True)
class KMeans(Fitted):
    """fᵢ = lengthᵢ for the centroid μᵢ = b_dec + lengthᵢ W_decᵢ nearest to x, else 0; x̂ = f W_dec + b_dec = μᵢ.

    So codes are one-hot up to their units: L0 is 1, and how far x goes towards its centroid is not told. b_dec is the
    mean of the rows.
    """

    iterations: Annotated[int, "Most iterations of the fit."] = 300
    starts: Annotated[int, "Fits from other centroids, of which the best is kept."] = 1

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {"W_dec": (size.n, size.d), "length": (size.n,), "b_dec": (size.d,)}

    def fit(self, size: Size, hyper: Mapping[str, float], generator: torch.Generator, rows: Tensor) -> Params:
        self.check(size, hyper)
        check_rows(rows, size.n)
        mean = rows.double().mean(0).to(rows.dtype)
        solver = scikit_learn("cluster").KMeans(
            n_clusters=size.n, n_init=self.starts, max_iter=self.iterations, random_state=seed_from(generator)
        )
        solver.fit((rows - mean).numpy())
        centroids = torch.from_numpy(solver.cluster_centers_).float()
        return {"W_dec": normalize(centroids, dim=1), "length": centroids.norm(dim=1), "b_dec": mean.float()}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        centroids = params["length"][:, None] * params["W_dec"]
        # ‖x − μ‖² without ‖x‖², which is the same for all.
        nearness = (x - params["b_dec"]) @ centroids.mT - centroids.square().sum(1) / 2
        return one_hot(nearness.argmax(-1), len(centroids)).to(x.dtype) * params["length"]

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ params["W_dec"] + params["b_dec"]

    def directions(self, params: Params) -> Tensor:
        return params["W_dec"]

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        lengths = params["W_dec"].norm(dim=1)
        return {
            "W_dec": normalize(params["W_dec"], dim=1),
            "length": params["length"] * lengths / one_scale(scaling),
            "b_dec": scaling.undo(params["b_dec"]),
        }
