"""Scores against controls at equal density: a rare feature and a dense one have other chances of a high score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAREST = 25  # control units whose mean is the score by chance at a density


def above_controls(values: Floats, density: Floats, controls: dict[str, tuple[Floats, Floats]]) -> Floats:
    """[n]: each value less the mean of the NEAREST units of the hardest control in log density; NaN without controls.

    `controls`: densities and scores of the units of each.
    """
    hardest = np.full(len(values), np.nan)
    for control_density, control_values in controls.values():
        hardest = np.fmax(hardest, _chance(density, control_density, control_values))
    above: Floats = values - hardest
    return above


def _chance(density: Floats, control_density: Floats, control_values: Floats) -> Floats:
    fires = control_density > 0
    order = np.argsort(control_density[fires], kind="stable")
    sorted_density, sorted_values = control_density[fires][order], control_values[fires][order]
    k = min(NEAREST, len(sorted_values))
    if not k:
        return np.full(len(density), np.nan)
    means = np.convolve(sorted_values, np.full(k, 1 / k), mode="valid")  # means[i] is of i … i + k − 1
    first = np.searchsorted(sorted_density, density) - k // 2
    return np.where(density > 0, means[np.clip(first, 0, len(means) - 1)], np.nan)
