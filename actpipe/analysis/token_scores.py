"""What the current token says about a unit: entropy, purity, specificity, determinism (R²).

The formulas stand in docs/reference/report-format.md, "Token scores"; the symbols are the same here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .activity import Activity
from .token_sums import Pairs

Column = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TokenScores:
    """All [n_units]; NaN where undefined."""

    token_entropy: Column  # bits
    effective_tokens: Column
    purity: Column
    specificity: Column  # bits
    token_r2: Column  # corrected for chance
    token_r2_raw: Column
    distinct_tokens: NDArray[np.int64]


def token_scores(pairs: Pairs, activity: Activity, token_counts: NDArray[np.int64]) -> TokenScores:
    """`token_counts` [vocabulary]: how often each token occurs among the counted rows (n_v)."""
    n_units, n, vocabulary = len(activity.count), activity.rows, int((token_counts > 0).sum())

    def by_unit(weights: Column) -> Column:
        sums: Column = np.bincount(pairs.unit, weights=weights, minlength=n_units).astype(np.float64)
        return sums

    mass = by_unit(pairs.total)  # S
    distinct = np.bincount(pairs.unit, minlength=n_units)  # m
    share = pairs.total / mass[pairs.unit]  # p_v
    occurrences = token_counts[pairs.token]  # n_v
    purity = np.zeros(n_units)
    np.maximum.at(purity, pairs.unit, share)
    with np.errstate(divide="ignore", invalid="ignore"):
        alive = np.where(mass > 0, 1.0, np.nan)
        correction = (distinct - 1) / (2 * activity.count * np.log(2))  # Miller and Madow
        entropy = np.minimum(by_unit(-share * np.log2(share)) + correction, np.log2(max(vocabulary, 1))) * alive
        specificity = by_unit(share * np.log2(share * n / occurrences)) * alive
        r2 = _determinism(by_unit(pairs.total**2 / occurrences), mass, activity.power_sums[1], n)
        corrected = 1 - (1 - r2) * (n - 1) / (n - vocabulary) if n > vocabulary else np.full(n_units, np.nan)
    return TokenScores(
        token_entropy=np.maximum(entropy, 0),  # a rounding error below zero for a unit of one token
        effective_tokens=np.exp2(np.maximum(entropy, 0)),
        purity=purity * alive,
        specificity=specificity,
        token_r2=corrected,
        token_r2_raw=r2 if n > vocabulary else corrected,
        distinct_tokens=distinct,
    )


def _determinism(explained: Column, mass: Column, squares: Column, n: int) -> Column:
    """Share of the variance over all N rows that lies between tokens; NaN where a unit does not vary."""
    baseline = mass**2 / max(n, 1)
    total = squares - baseline
    varies = total > 1e-9 * squares  # below, float64 sums cannot tell variance from rounding
    return np.where(varies, (explained - baseline) / np.where(varies, total, 1), np.nan)


def top_tokens(pairs: Pairs, n_units: int, keep: int = 10) -> tuple[list[NDArray[np.int64]], list[Column]]:
    """For each unit the tokens with most of its mass, heaviest first, and their shares."""
    borders = np.searchsorted(pairs.unit, np.arange(n_units + 1))
    tokens, shares = [], []
    for start, stop in pairwise(borders.tolist()):
        total = pairs.total[start:stop]
        order = _largest(total, keep)
        tokens.append(pairs.token[start:stop][order])
        shares.append(total[order] / total.sum() if len(total) else total)
    return tokens, shares


def _largest(total: Column, keep: int) -> NDArray[np.int64]:
    """Indices of the largest, in order; of equal ones the smaller token id, which stands first."""
    if len(total) > 4 * keep:
        bound = np.partition(total, len(total) - keep)[len(total) - keep]
        candidates = np.flatnonzero(total >= bound)
    else:
        candidates = np.arange(len(total))
    return candidates[np.argsort(-total[candidates], kind="stable")][:keep]
