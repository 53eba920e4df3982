"""Whether the same units come out on top when the scores are computed again from other text, draws or judges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .strata import Floats


class Stability(NamedTuple):
    n: int  # units that are defined in both
    spearman: float
    overlap: float  # |top k of one ∩ top k of the other| / k
    overlap_chance: float  # k / n
    k: int


def rank_stability(first: Floats, second: Floats, *, k: int = 100) -> Stability:
    """Of two scores of the same units [n]. k is at most half the units: the overlap of everything says nothing."""
    both = np.isfinite(first) & np.isfinite(second)
    a, b = first[both], second[both]
    n = len(a)
    k = min(k, n // 2)
    if k == 0:
        return Stability(n, np.nan, np.nan, np.nan, k)
    tops = [set(np.argsort(-each, kind="stable")[:k].tolist()) for each in (a, b)]
    return Stability(n, spearman(a, b), len(tops[0] & tops[1]) / k, k / n, k)


def spearman(first: Floats, second: Floats) -> float:
    """Pearson's correlation of the ranks, ties sharing the mean of theirs; NaN where one of them is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(each) - (len(each) + 1) / 2 for each in (first, second))
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale > 0 else float("nan")
