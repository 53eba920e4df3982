"""How much of a score is the pipeline's doing: random-effects analysis of variance.

A score of the same units is computed several times, with another corpus, other examples, another judge. If what those
choices add varies more than the arms differ, a headline about arms is withheld.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Components(NamedTuple):
    """Variances of a score's parts; estimates below 0 are given as 0, as is usual."""

    grand_mean: float
    factors: dict[str, float]  # of each factor's main effect
    residual: float  # what no main effect explains: interactions and noise together

    @property
    def shares(self) -> dict[str, float]:
        total = sum(self.factors.values()) + self.residual
        parts = {**self.factors, "residual": self.residual}
        return {name: each / total if total > 0 else float("nan") for name, each in parts.items()}


def components(scores: NDArray[np.float64], factors: tuple[str, ...]) -> Components:
    """Of a complete table of scores, an axis a factor (units, corpora, draws, judges …), by the method of moments:

        σ²_f = max(0, (MS_f − MS_residual) / (cells / levels of f))     MS = sum of squares / degrees of freedom

    The residual has Π levels − 1 − Σ (levels − 1) degrees of freedom; factors with one level have no variance (NaN).
    """
    from actpipe.errors import Misuse

    if scores.ndim != len(factors) or not np.isfinite(scores).all():
        raise Misuse(
            f"a variance decomposition needs a complete table with an axis for each of {', '.join(factors)}, not shape "
            f"{scores.shape} with {int((~np.isfinite(scores)).sum())} missing; leave out what is undefined somewhere"
        )
    mean = float(scores.mean())
    squares, left = {}, float(((scores - mean) ** 2).sum())
    for axis, name in enumerate(factors):
        others = tuple(each for each in range(scores.ndim) if each != axis)
        squares[name] = float(((scores.mean(axis=others) - mean) ** 2).sum()) * scores.size / scores.shape[axis]
        left -= squares[name]
    levels = dict(zip(factors, scores.shape, strict=True))
    freedom = scores.size - 1 - sum(n - 1 for n in levels.values())
    residual = max(left, 0.0) / freedom if freedom > 0 else float("nan")
    found = {
        name: max(0.0, (squares[name] / (n - 1) - residual) / (scores.size / n)) if n > 1 else float("nan")
        for name, n in levels.items()
    }
    return Components(mean, {name: value for name, value in found.items() if np.isfinite(value)}, residual)
