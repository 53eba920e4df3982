"""Histograms for the charts, binned here so that features and controls share edges and the page stays small."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

BINS_PER_DECADE = 10
R2_STEP = 0.05
R2_LOWEST = -0.2  # the corrected R² may be slightly negative; lower values are counted in the first bin
ENTROPY_STEP = 0.5  # bits

Edges = np.ndarray[Any, np.dtype[np.float64]]


def edges(score: str, *, rows: int, distinct_tokens: int) -> Edges:
    """Bin edges for `density` (N rows), `token_r2` and `token_entropy` (V distinct tokens)."""
    if score == "density":
        decades = max(1, math.ceil(math.log10(max(rows, 1))))
        return 10.0 ** np.linspace(-decades, 0, decades * BINS_PER_DECADE + 1)
    if score == "token_r2":
        first, last = round(R2_LOWEST / R2_STEP), round(1.0 / R2_STEP)
        return np.arange(first, last + 1) / round(1.0 / R2_STEP)  # 0 is an edge exactly, as many features score it
    steps = math.ceil(math.log2(max(distinct_tokens, 2)) / ENTROPY_STEP)
    return np.linspace(0, steps * ENTROPY_STEP, steps + 1)


def occupied(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the empty bins before the first and after the last that holds anything; for one group."""
    held = [i for i, record in enumerate(records) if record["n"]]
    return records[held[0] : held[-1] + 1] if held else []


def shares(values: Iterable[float | None], bin_edges: Edges, group: str) -> list[dict[str, Any]]:
    """One record a bin, {group, low, high, share, n}: `share` of the defined values; outliers are in the end bins."""
    defined = np.array([value for value in values if value is not None and math.isfinite(value)], dtype=np.float64)
    counts, _ = np.histogram(np.clip(defined, bin_edges[0], bin_edges[-1]), bin_edges)
    total = max(int(defined.size), 1)
    return [
        {
            "group": group,
            "low": float(f"{low:.5g}"),
            "high": float(f"{high:.5g}"),
            "share": float(f"{n / total:.5g}"),
            "n": int(n),
        }
        for low, high, n in zip(bin_edges[:-1], bin_edges[1:], counts, strict=True)
    ]
