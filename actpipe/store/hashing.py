"""Numbers that look random and are functions of their arguments alone, the same on every machine and version."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def splitmix64(values: NDArray[Any]) -> Words:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014) of each integer."""
    with np.errstate(over="ignore"):
        z = values.astype(np.uint64) + np.uint64(_GOLDEN)
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z


def salt(*parts: int) -> np.uint64:
    """One word from several integers of any size; the order of the parts matters."""
    word = 0
    for part in parts:
        word = int(splitmix64(np.array([(word ^ part) & _MASK], np.uint64))[0])
    return np.uint64(word)


def salted(values: NDArray[Any], word: np.uint64) -> Words:
    """A word for each value, of another family for each salt."""
    return splitmix64(splitmix64(values) ^ word)
