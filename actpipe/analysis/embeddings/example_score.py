"""Do texts that a unit fires on look like others that it fires on? (T6; Paulo and Belrose 2507.08473)

A query q is compared with examples that fire the unit, E⁺, and examples that do not, E⁻:

    Δ(q) = mean cos(q, E⁺) − mean cos(q, E⁻)

The score is the AUROC of Δ between queries that fire the unit and queries that do not: 0.5 at chance. Queries and
examples must be different texts, best of different documents. Weak evidence: reported AUROCs lie between 0.5 and 0.7.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]


class ExampleScore(NamedTuple):
    auroc: float  # NaN where any of the four sets is empty
    firing: Column  # Δ of the queries that fire the unit
    silent: Column  # Δ of those that do not


def example_score(
    *,
    firing_queries: NDArray[np.floating],
    silent_queries: NDArray[np.floating],
    firing_examples: NDArray[np.floating],
    silent_examples: NDArray[np.floating],
) -> ExampleScore:
    """All [number, dims], of any length: `Encoder.embed` of the texts, or tiles of any other embedding."""
    # The mean cosine with a set is the product with its mean unit vector.
    contrast = _mean_direction(firing_examples) - _mean_direction(silent_examples)
    firing, silent = _unit(firing_queries) @ contrast, _unit(silent_queries) @ contrast
    return ExampleScore(auroc(firing, silent), firing, silent)


def auroc(positive: Column, negative: Column) -> float:
    """The probability that a positive is above a negative, ties by half; NaN without either."""
    if not len(positive) or not len(negative) or np.isnan(positive).any() or np.isnan(negative).any():
        return float("nan")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    up_to = np.searchsorted(ordered, positive, side="right")
    return float((below + up_to).sum() / (2 * len(positive) * len(negative)))


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """A vector of length 0 has the cosine 0 with everything."""
    exact = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    directions: NDArray[np.float64] = exact / np.where(length > 0, length, 1)
    return directions


def _mean_direction(vectors: NDArray[np.floating]) -> Column:
    if not len(vectors):
        return np.full(np.shape(vectors)[1], np.nan)
    mean: Column = _unit(vectors).mean(axis=0)
    return mean
