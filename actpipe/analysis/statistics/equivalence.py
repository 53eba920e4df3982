"""Two one-sided tests: whether a difference is small, which a difference that is not significant does not show."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .strata import Floats

MARGIN = 0.02  # of a score between 0 and 1; smaller differences decide nothing


class Equivalence(NamedTuple):
    p: Floats  # [C] the larger of the two one-sided p-values
    low: Floats  # [C] the 90 % interval: equivalent at 5 % when it lies within ± the margin
    high: Floats


def tost(differences: Floats, *, margin: float = MARGIN, level: float = 0.05) -> Equivalence:
    """From replicates of differences [B, C] (Schuirmann 1987):

    p = max(P(d ≤ −margin), P(d ≥ margin)),   each (1 + #) / (B + 1)
    """
    b = len(differences)
    p = (1 + np.maximum((differences <= -margin).sum(axis=0), (differences >= margin).sum(axis=0))) / (b + 1)
    low, high = np.quantile(differences, [level, 1 - level], axis=0)
    undefined = ~np.isfinite(differences).all(axis=0)
    return Equivalence(*(np.where(undefined, np.nan, each) for each in (p, low, high)))


def tost_means(first: Floats, second: Floats, *, margin: float = MARGIN) -> float:
    """p of two independent samples by Welch's t, for values that are few, such as seeds."""
    from scipy.stats import ttest_ind

    above = ttest_ind(first + margin, second, equal_var=False, alternative="greater").pvalue
    below = ttest_ind(first - margin, second, equal_var=False, alternative="less").pvalue
    return float(max(above, below))
