"""Units grouped by how often they fire: most scores move with density, so nothing is compared across it unawares.

Half decades of density from 1e-6 up; what fires more rarely shares the lowest bin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EDGES: Floats = 10.0 ** np.arange(-5.5, 0, 0.5)  # between the bins
N_BINS = len(EDGES) + 1
FEWEST = 20  # units of a stratum that is resampled; one of a few units would hide the spread between them
_PIECE = 2048  # units resampled together: replicates · _PIECE counts are held at once


def density_bins(density: Floats) -> Ints:
    """[n]: 0 … N_BINS − 1."""
    return np.searchsorted(EDGES, density, side="right").astype(np.int64)


def strata(density: Floats) -> Ints:
    """[n]: density bins, each joined with the next until it holds FEWEST units."""
    counts = np.bincount(density_bins(density), minlength=N_BINS)
    joined, label, held = np.zeros(N_BINS, np.int64), 0, 0
    for each, count in enumerate(counts.tolist()):
        joined[each] = label
        held += count
        if held >= FEWEST:
            label, held = label + 1, 0
    if held > 0 and label:  # what is left at the dense end is too little by itself
        joined[joined == label] = label - 1
    found: Ints = joined[density_bins(density)]
    return found


def pieces(labels: Ints) -> Iterator[Ints]:
    """Indices of the units of each stratum, large strata in pieces.

    Within a stratum the order says nothing, so a piece is a random part of it; resampling in pieces narrows an interval
    by about 1/(2 · _PIECE).
    """
    order = np.argsort(labels, kind="stable")
    borders = np.flatnonzero(np.diff(labels[order])) + 1
    for stratum in np.split(order, borders):
        n_pieces = -(-len(stratum) // _PIECE)
        yield from (part for part in np.array_split(stratum, n_pieces) if len(part)) if len(stratum) else ()


def reference(densities: Sequence[Floats]) -> Floats:
    """[N_BINS] shares of the units of all subjects together: what post-stratified means are adjusted to."""
    counts = sum((np.bincount(density_bins(each), minlength=N_BINS) for each in densities), np.zeros(N_BINS))
    shares: Floats = counts / max(float(counts.sum()), 1.0)
    return shares


def post_stratified(density: Floats, target: Floats, defined: NDArray[np.bool_]) -> Floats:
    """[n] weights with which the mean over the units that are `defined` has the densities of `target` [N_BINS]:

        weight of a unit = share of its bin in `target` / number of defined units in its bin

    Bins without a defined unit drop out; `covered` says how much of the target that leaves.
    """
    bins = density_bins(density)
    counts = np.bincount(bins[defined], minlength=N_BINS)
    weights: Floats = np.where(defined, target[bins] / np.maximum(counts[bins], 1), 0.0)
    return weights


def covered(density: Floats, target: Floats, defined: NDArray[np.bool_]) -> float:
    """Share of `target` in bins that hold a defined unit."""
    return float(target[np.unique(density_bins(density[defined]))].sum())
