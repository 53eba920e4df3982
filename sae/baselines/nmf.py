"""Non-negative matrix factorisation (Lee & Seung 1999) of rows shifted to be non-negative."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sae.architecture import Fitted, Hyper, Params, Size
from sae.architectures.normalised import one_scale
from sae.lasso import nonnegative_codes
from sae.registry import register
from sae.scaling import Scaling

from .classical import scikit_learn, seed_from
from .linear import check_components, check_rows


@register("nmf")
@dataclass(frozen=True, kw_only=True)
class NMF(Fitted):
    """f = argmin over f ≥ 0 of ‖x − b_dec − f W_dec‖², x̂ = f W_dec + b_dec, with W_dec ≥ 0 and b_dec the rows' floor.

    The floor is the least value of each coordinate; Cunningham et al. 2023 shift all by the least of all, and left NMF
    out of their final runs because it is slow. Codes are found by FISTA (sae/lasso.py).
    """

    steps: Annotated[int, "Steps of FISTA for the codes."] = 200
    iterations: Annotated[int, "Most iterations of the fit."] = 200
    tolerance: Annotated[float, "Relative change of the error at which the fit stops."] = 1e-4

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"FISTA needs at least one step, not {self.steps}")

    def check(self, size: Size, hyper: Mapping[str, float]) -> None:
        super().check(size, hyper)
        # With more of them many codes give the same answer.
        check_components(size, split=False, name="NMF")

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {"W_dec": (size.n, size.d), "b_dec": (size.d,)}

    def fit(self, size: Size, hyper: Mapping[str, float], generator: torch.Generator, rows: Tensor) -> Params:
        self.check(size, hyper)
        check_rows(rows, size.n)
        floor = rows.amin(0)
        solver = scikit_learn("decomposition").NMF(
            n_components=size.n,
            init="nndsvda",
            max_iter=self.iterations,
            tol=self.tolerance,
            random_state=seed_from(generator),
        )
        with warnings.catch_warnings():
            # The error falls in every iteration, so that stopping early is a choice of `iterations` and no failure.
            warnings.filterwarnings("ignore", "Maximum number of iterations")
            solver.fit((rows - floor).double().numpy())
        W_dec = normalize(torch.from_numpy(solver.components_), dim=1).contiguous()
        return {"W_dec": W_dec.float(), "b_dec": floor.float()}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return nonnegative_codes(x - params["b_dec"], params["W_dec"], 0.0, steps=self.steps)

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ params["W_dec"] + params["b_dec"]

    def directions(self, params: Params) -> Tensor:
        return params["W_dec"]

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        one_scale(scaling)  # another for each coordinate would weigh their errors differently
        return {"W_dec": normalize(params["W_dec"], dim=1), "b_dec": scaling.undo(params["b_dec"])}
