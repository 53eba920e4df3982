"""Dictionary-level numbers of effects: how concentrated they are, and how well the cheap estimate follows the exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Estimate, Floats, resampled

SHARE = 0.9  # of the effect of all units


def units_for_share(effects: Floats, share: float = SHARE) -> NDArray[np.int64]:
    """Fewest units whose |effects| [..., n] make up `share` of Σ |effects|; 0 where no unit has any."""
    descending = -np.sort(-np.abs(effects), axis=-1)
    reached = np.cumsum(descending, axis=-1)
    # The last sum is the total: compared with itself, so that rounding cannot ask for one unit more.
    fewest = 1 + (reached < share * reached[..., -1:]).sum(axis=-1)
    return np.where(reached[..., -1] > 0, fewest, 0)


def concentration(documents: Floats, weights: Floats) -> Estimate:
    """`units_for_share` of Σ_d effects [documents, n], over documents drawn again."""
    value = float(units_for_share(documents.sum(axis=0)))
    drawn = np.array([float(units_for_share(weight @ documents)) for weight in weights])
    return resampled(value, drawn, int((documents != 0).any(axis=1).sum()))


def correlations(estimate: Floats, exact: Floats, *, draws: int, seed: int) -> dict[str, Estimate]:
    """Pearson's and Spearman's r of two numbers of each unit [m]; intervals over units drawn again."""
    both = np.isfinite(estimate) & np.isfinite(exact)
    x, y = estimate[both], exact[both]
    pairs = {"pearson": (x, y), "spearman": (ranks(x), ranks(y))}
    chosen = np.random.default_rng(seed).integers(0, max(1, len(x)), size=(draws, len(x)))
    return {
        name: resampled(correlation(a, b), np.array([correlation(a[some], b[some]) for some in chosen]), len(x))
        for name, (a, b) in pairs.items()
    }


def correlation(x: Floats, y: Floats) -> float:
    """NaN for fewer than three points or a constant."""
    if len(x) < 3:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    below = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / below if below > 0 else float("nan")


def ranks(values: Floats) -> Floats:
    """Equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    found: Floats = (last - (count - 1) / 2)[place].astype(np.float64)
    return found
