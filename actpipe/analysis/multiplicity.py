"""Many questions at once: adjusted p-values, which are compared with the level as a single one would be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def holm(p: Floats) -> Floats:
    """Adjusted for a family [m] of headline claims (Holm 1979): the chance of any false one stays at the level.

        p̃₍ᵢ₎ = max over j ≤ i of min(1, (m − j + 1) p₍ⱼ₎)

    NaN is no question: it stays NaN and is not counted in m.
    """
    return _adjusted(p, lambda ordered, m: np.maximum.accumulate(ordered * np.arange(m, 0, -1)))


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted for flags of single units [m] (Benjamini and Hochberg 1995): the share of false flags among all flags
    stays at the level on average, for independent or positively dependent units.

        p̃₍ᵢ₎ = min over j ≥ i of min(1, m p₍ⱼ₎ / j)
    """
    return _adjusted(p, lambda ordered, m: np.minimum.accumulate((ordered * m / np.arange(1, m + 1))[::-1])[::-1])


def _adjusted(p: Floats, rule) -> Floats:  # type: ignore[no-untyped-def]
    found = np.full(p.shape, np.nan)
    asked = np.flatnonzero(np.isfinite(p))
    order = asked[np.argsort(p[asked], kind="stable")]
    if len(order):
        found[order] = np.minimum(rule(p[order], len(order)), 1.0)
    return found
