"""Two one-sided tests: whether a difference is small, which a difference that is not significant does not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .strata import Floats

# A difference that is smaller decides nothing. Scores go from 0 for a useless unit to 1 for a perfect one.
# MonoSemanticity is 0.07 of units for one topic, in the embeddings of a model's own tokens (embeddings/tokens.py): 0.02
# would call units for little and units for nothing the same. With a sentence encoder 0.002 is strict.
MARGIN = 0.02
_SMALL_SCALES = dict.fromkeys(("ms", "ms_c", "ms_lexical", "ms_beyond_words", "ms_across"), 0.002)


def margin_of(metric: str) -> float:
    return _SMALL_SCALES.get(metric, MARGIN)


def margins_of(metrics: Sequence[str]) -> Floats:
    """[M]"""
    return np.array([margin_of(metric) for metric in metrics])


class Equivalence(NamedTuple):
    p: Floats  # [C] the larger of the two one-sided p-values
    low: Floats  # [C] the 90 % interval: equivalent at 5 % when it lies within ± the margin
    high: Floats


def tost(differences: Floats, *, margin: float | Floats = MARGIN, level: float = 0.05) -> Equivalence:
    """From replicates of differences [B, C] (Schuirmann 1987); `margin`: one, or one a column.

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
