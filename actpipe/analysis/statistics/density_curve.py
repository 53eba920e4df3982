"""A score as a function of density, so that arms of different densities are compared where both have units.

    y = β₀ + β₁ z + β₂ (z − k₁)₊ + β₃ (z − k₂)₊        z = log₁₀ density; knots at the tertiles of the units' densities

A linear spline by least squares. It is a statistic of sums over units (z-products and z·y), so the bootstrap of means
serves for it too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .resampling import Statistic
from .strata import Floats

POINTS = (1e-3, 1e-2)  # densities at which curves are compared
FEWEST_BEYOND = 10  # units on either side of a point; there is no value beyond: that would be extrapolation
_TERMS = 4
_RIDGE = 1e-9  # of the trace, for replicates in which a segment is left without units


class Curve(NamedTuple):
    sums: Floats  # [n, M · (16 + 4)]
    statistic: Statistic  # sums [r, …] → fitted values [r, P · M], points first


def curve(density: Floats, table: Floats, points: tuple[float, ...] = POINTS) -> Curve:
    """Of scores `table` [n, M], NaN where undefined, of units with `density` [n]; dead units have no place on it."""
    alive = density > 0
    z = np.log10(np.where(alive, density, 1.0))
    knots = np.quantile(z[alive], [1 / 3, 2 / 3]) if alive.any() else np.zeros(2)
    x, at = _basis(z, knots), _basis(np.log10(points), knots)  # [n, 4], [P, 4]
    defined = np.isfinite(table) & alive[:, None]
    n_metrics = table.shape[1]
    products = np.einsum("nm,ni,nj->nmij", defined, x, x).reshape(len(z), n_metrics * _TERMS**2)
    answers = np.einsum("nm,ni->nmi", np.where(defined, table, 0.0), x).reshape(len(z), n_metrics * _TERMS)
    inside = np.array([_inside(z, defined, point) for point in np.log10(points)])  # [P, M]

    def fitted(sums: Floats) -> Floats:
        r = len(sums)
        normal = sums[:, : n_metrics * _TERMS**2].reshape(r, n_metrics, _TERMS, _TERMS)
        right = sums[:, n_metrics * _TERMS**2 :].reshape(r, n_metrics, _TERMS, 1)
        ridge = _RIDGE * np.trace(normal, axis1=2, axis2=3)[..., None, None] + 1e-300
        beta = np.linalg.solve(normal + ridge * np.eye(_TERMS), right)[..., 0]
        values: Floats = np.einsum("pi,rmi->rpm", at, beta)
        return np.where(inside, values, np.nan).reshape(r, -1)

    return Curve(np.concatenate([products, answers], axis=1), fitted)


def _basis(z: Floats, knots: Floats) -> Floats:
    return np.stack([np.ones_like(z), z, *(np.maximum(z - knot, 0.0) for knot in knots)], axis=1)


def _inside(z: Floats, defined: NDArray[np.bool_], point: float) -> NDArray[np.bool_]:
    """[M] whether enough units with a score are on both sides."""
    below, above = (defined & (z <= point)[:, None]).sum(axis=0), (defined & (z >= point)[:, None]).sum(axis=0)
    found: NDArray[np.bool_] = np.minimum(below, above) >= FEWEST_BEYOND
    return found
