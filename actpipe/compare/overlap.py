"""How much two arms have in common in how often their units fire, and their means over what is common.

    overlap = Σ_b min(p₁(b), p₂(b))        common histogram = min(p₁, p₂) / overlap        b: half decades of density

p are shares of the units with a score. Most scores move with density, so arms are compared again with their units
weighted to the common histogram; where the arms share hardly any densities there is nothing to compare.

Shapes: S strata (3), M metrics, N density bins, n units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.statistics import Measured
from actpipe.analysis.statistics.resampling import Replicated, Units, ratio, replicated
from actpipe.analysis.statistics.strata import N_BINS, Floats, density_bins, post_stratified, strata

LEAST_OVERLAP = 0.25  # below: the adjusted means would speak of a few odd units. Heuristic; not tuned


class Common(NamedTuple):
    overlap: Floats  # [S, M]
    target: Floats  # [S, M, N]; zeros where nothing is common


def common(first: Floats, second: Floats) -> Common:
    """Of histograms [S, M, N], or of levels of them in the proportion of their weights."""
    lowest = np.minimum(first, second)
    overlap = lowest.sum(axis=-1)
    return Common(overlap, lowest / np.where(overlap > 0, overlap, 1.0)[..., None])


def adjusted(
    members: Sequence[Measured], metrics: Sequence[str], target: Floats, *, seed: int, stream: int, replicates: int
) -> Replicated:
    """Means of columns [S · M] with the densities of `target`, by the draws that the plain means are made with."""
    groups = []
    for each in members:
        values = np.nan_to_num(each.table(metrics))
        weights = np.stack(
            [
                np.stack([post_stratified(each.density, target[s, m], inside) for m, inside in enumerate(row)], axis=1)
                for s, row in enumerate(_inside(each, metrics))
            ],
            axis=1,
        )  # [n, S, M]
        n, columns = len(values), weights.shape[1] * weights.shape[2]
        groups.append(
            Units(
                model=each.model,
                dictionary=each.dictionary,
                sums=np.hstack([(weights * values[:, None]).reshape(n, columns), weights.reshape(n, columns)]),
                strata=strata(each.density),
                statistic=ratio,
            )
        )
    return replicated(groups, seed=seed, stream=stream, replicates=replicates)


def histograms(members: Sequence[Measured], metrics: Sequence[str]) -> Floats:
    """[S, M, N] shares of the units of a stratum with a score."""
    counts = np.zeros((3, len(metrics), N_BINS))
    for each in members:
        bins = density_bins(each.density)
        counts += [[np.bincount(bins[inside], minlength=N_BINS) for inside in row] for row in _inside(each, metrics)]
    shares: Floats = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    return shares


def _inside(measured: Measured, metrics: Sequence[str]) -> NDArray[np.bool_]:
    """[S, M, n]: units of the stratum with a score."""
    defined = np.isfinite(measured.table(metrics)).T
    found: NDArray[np.bool_] = (measured.weights()[0] > 0)[:, None] & defined
    return found
