"""Confidence intervals of means over tokens, by resampling documents: tokens of one document are not independent draws.

    replicate r:  Σ_d w_rd S_d / Σ_d w_rd n_d       S_d sum and n_d number over document d;  w_rd ~ Poisson(1)

Poisson weights (Chamandy et al. 2012, "Estimating uncertainty for massive data streams") make of the bootstrap a
stream: the weight of a document follows from its number and the seed alone, so a document may come in pieces, in any
order and in several accumulators, and the replicates of a sum of accumulators are the sums of theirs.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPLICATES = 256
LEVEL = 0.95
FEWEST_DOCUMENTS = 8  # below, an interval says little: with 8 a replicate leaves out 3 of them

Floats = NDArray[np.float64]

# P(Poisson(1) ≤ j) = e⁻¹ Σ_{i≤j} 1/i!; beyond 12 are 6e-11 of the draws.
_CUMULATIVE = np.cumsum([math.exp(-1) / math.factorial(j) for j in range(13)])


def document_keys(stream: str, documents: NDArray[np.integer[Any]], seed: int) -> NDArray[np.uint64]:
    """One number a document that no other stream of documents and no other seed shares."""
    digest = hashlib.sha256(f"{seed}|{stream}".encode()).digest()
    start = _mixed(np.frombuffer(digest[:8], dtype="<u8").astype(np.uint64))
    with np.errstate(over="ignore"):
        return _mixed(documents.astype(np.uint64) + start)


def weights(keys: NDArray[np.uint64]) -> Floats:
    """[documents] → [REPLICATES, documents], each Poisson(1)."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, REPLICATES + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
        drawn = _mixed(keys[None, :] + steps[:, None])
    uniform = (drawn >> np.uint64(11)) * 2.0**-53
    return np.searchsorted(_CUMULATIVE, uniform, side="right").astype(np.float64)


def interval(replicates: Floats, documents: int) -> tuple[float, float] | tuple[None, None]:
    """The middle LEVEL of the replicates [REPLICATES]; none where the documents are too few to say."""
    defined = replicates[np.isfinite(replicates)]
    if documents < FEWEST_DOCUMENTS or len(defined) < REPLICATES // 2:
        return None, None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): every bit of the result hangs on every bit given."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
