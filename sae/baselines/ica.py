"""Independent components (FastICA, Hyvärinen & Oja 2000) of standardised rows, as in Cunningham et al. 2023."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from sae.architecture import Params, Size
from sae.registry import register

from .classical import scikit_learn, seed_from
from .linear import Linear, as_params, both_signs, check_components, check_rows, standard_deviations


@register("ica")
@dataclass(frozen=True, kw_only=True)
class ICA(Linear):
    """f = W (x − mean), x̂ = f A + mean: W finds the components, the rows of A, of length 1, mix them.

    Largest variance first; k and `split` as in PCA. With all components x̂ = x; the authors decode by the rows of W,
    which do not invert it.
    """

    split: Annotated[bool, "One feature for each sign of each component."] = False
    iterations: Annotated[int, "Most iterations of FastICA."] = 200
    tolerance: Annotated[float, "Change of the components at which FastICA stops."] = 1e-4

    @property
    def is_positive(self) -> bool:
        return self.split

    def check_width(self, size: Size) -> None:
        check_components(size, split=self.split, name="ICA")

    def fit(self, size: Size, hyper: Mapping[str, float], generator: torch.Generator, rows: Tensor) -> Params:
        self.check(size, hyper)
        n = size.n // 2 if self.split else size.n
        check_rows(rows, n + 1)
        wide = rows.double()
        mean, deviations = wide.mean(0), standard_deviations(wide)
        solver = scikit_learn("decomposition").FastICA(
            n_components=n,
            whiten="unit-variance",
            max_iter=self.iterations,
            tol=self.tolerance,
            random_state=seed_from(generator),
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "FastICA did not converge")
            solver.fit(((wide - mean) / deviations).numpy())
        if solver.n_iter_ >= self.iterations:
            warnings.warn(
                f"FastICA was stopped after {self.iterations} iterations, before its components stood still; "
                "give it more iterations or a larger tolerance, and distrust components of nearly Gaussian rows",
                stacklevel=2,
            )
        unmix = torch.from_numpy(solver.components_) / deviations  # [n, d]
        mix = torch.from_numpy(solver.mixing_).T * deviations  # [n, d]
        # Components have variance 1, so the length of what they mix is their standard deviation in the rows.
        lengths = mix.norm(dim=1)
        order = lengths.argsort(descending=True)
        unmix, mix = (unmix * lengths[:, None])[order], (mix / lengths[:, None])[order]
        if self.split:
            unmix, mix = both_signs(unmix), both_signs(mix)
        return as_params(unmix, mix, mean)
