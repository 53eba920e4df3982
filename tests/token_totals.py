"""What `TokenSums.add` and `TokenSketch.add` take, from a list of firings in any order."""

from __future__ import annotations

import numpy as np


def totals(unit: np.ndarray, token: np.ndarray, value: np.ndarray, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    key, place = np.unique(unit.astype(np.int64) * vocabulary + token, return_inverse=True)
    return key, np.bincount(place, weights=value.astype(np.float64), minlength=len(key))
