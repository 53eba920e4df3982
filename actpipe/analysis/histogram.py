"""How large the activations of each unit are: 64 bins of a quarter octave, 512 bytes a unit."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .firings import Firings

BINS = 64
PER_OCTAVE = 4
OCTAVES_ABOVE = 2  # the last edge is 4 times the (rounded up) root mean square norm: few activations are above


def edges(root_mean_square: float) -> NDArray[np.float64]:
    """The 65 edges for a hook, from its root mean square norm: no matter in which order rows come."""
    top = np.ceil(np.log2(root_mean_square)) + OCTAVES_ABOVE if root_mean_square > 0 else 0.0
    return np.exp2(top - (BINS - np.arange(BINS + 1)) / PER_OCTAVE)


class Histogram:
    """Bin i holds [edge i, edge i+1); smaller activations go to the first bin, larger ones to the last."""

    def __init__(self, n_units: int, edges: NDArray[np.float64]) -> None:
        self.inner_edges = edges[1:-1].astype(np.float32)  # compared in the precision of the codes
        self.counts = np.zeros((n_units, BINS), dtype=np.int64)

    def update(self, batch: Firings) -> None:
        starts, _, value = batch.by_unit
        _add(starts, value, self.inner_edges, self.counts)

    def merge(self, other: Self) -> None:
        self.counts += other.counts

    def state(self) -> dict[str, NDArray[Any]]:
        return {"counts": self.counts}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        self.counts = state["counts"]


@compiled
def _add(starts: Any, value: Any, inner_edges: Any, counts: Any) -> None:
    for u in range(len(counts)):
        for i in range(starts[u], starts[u + 1]):
            low, high = 0, len(inner_edges)  # how many edges are at or below the value
            while low < high:
                middle = (low + high) // 2
                if value[i] < inner_edges[middle]:
                    high = middle
                else:
                    low = middle + 1
            counts[u, low] += 1
