"""The data of the charts, counted here so that features and controls share bins and the page stays small."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .charts import OWN
from .distributions import edges, occupied, shares
from .member_units import MemberUnits
from .payload import number
from .tables import Row

Floats = NDArray[np.float64]

DISTRIBUTED = ("token_r2", "token_entropy")
BY_DENSITY = ("rules_f1_std", "concept_f1_std", "ms_c", "vendi_ratio")
DECADES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # edges of the bins of density
TOKEN_UNIT = 0.8  # token R² above which a unit is one of the token
FEWEST = 5  # units whose percentiles are told
MAP_R2 = 24  # bins


def decade(low: float, high: float) -> str:
    return f"{100 * low:g}–{100 * high:g} %"


DENSITIES = [decade(low, high) for low, high in pairwise(DECADES)]


def distributions(units: MemberUnits, score: str) -> list[Row]:
    """Of a score of units.parquet, the units and each control."""
    summary = units.tables.summary
    bin_edges = edges(score, rows=summary["tokens"], distinct_tokens=summary["distinct_tokens"])
    alive = np.array(units.columns["alive"], dtype=bool)
    found = shares(units.floats(score)[alive], bin_edges, OWN)
    if score in DISTRIBUTED:
        for control, values in units.first_controls(score).items():
            found += shares(values, bin_edges, control)
    if score not in DISTRIBUTED:  # the range of densities is set by the least that could be, often far away
        found = occupied(found)
    return [row | {"member": units.index} for row in found]


def by_density(units: MemberUnits) -> list[Row]:
    """Percentiles of each score by decade of density; of the features token and context units apart, and together."""
    density, r2 = units.floats("density"), units.floats("token_r2")
    strata = {"token": r2 > TOKEN_UNIT, "context": r2 <= TOKEN_UNIT}
    found = []
    for metric in BY_DENSITY:
        if not np.isfinite(units.scores[metric]).any():
            continue
        controls = units.controls(metric)
        for stratum, belongs in strata.items():
            groups = {OWN: (density[belongs], units.scores[metric][belongs])} | controls
            for group, (at, values) in groups.items():
                found += _by_decade(
                    at, values, {"member": units.index, "metric": metric, "stratum": stratum, "group": group}
                )
    return found


def _by_decade(density: Floats, values: Floats, names: Row) -> list[Row]:
    found = []
    for low, high in pairwise(DECADES):
        inside = values[(density >= low) & (density < high) & np.isfinite(values)]
        if len(inside) >= FEWEST:
            percentiles = {f"p{p}": number(float(np.percentile(inside, p))) for p in (10, 25, 50, 75, 90)}
            found.append(names | {"density": decade(low, high), "n": len(inside)} | percentiles)
    return found


def unit_map(units: MemberUnits) -> list[Row]:
    """How many living units are in each cell of density and token R²."""
    density, r2 = units.floats("density"), units.floats("token_r2")
    known = (density > 0) & np.isfinite(r2)
    if not known.any():
        return []
    decades = edges("density", rows=units.tables.summary["tokens"], distinct_tokens=2)
    heights = np.linspace(min(0.0, float(r2[known].min())), 1.0, MAP_R2 + 1)
    counts, _, _ = np.histogram2d(
        np.clip(density[known], decades[0], 1), np.clip(r2[known], None, 1), (decades, heights)
    )
    return [
        {
            "member": units.index,
            "density": number(decades[i]),
            "density_high": number(decades[i + 1]),
            "r2": number(heights[j]),
            "r2_high": number(heights[j + 1]),
            "n": int(counts[i, j]),
        }
        for i, j in np.argwhere(counts)
    ]


def found_in_seeds(units: MemberUnits, label: str) -> list[Row]:
    """Share of the units whose direction is in 0, 1, … of the other seeds."""
    found = [rows[0]["by_direction"] for rows in units.seeds.values() if rows[0]["seeds"]]
    counts = np.bincount(np.array(found, dtype=np.int64)) if found else np.zeros(0, dtype=np.int64)
    return [{"label": label, "seeds": k, "share": number(n / len(found))} for k, n in enumerate(counts.tolist())]


def control_names(rows: Sequence[Row]) -> list[str]:
    """The groups that are not the features, in one order for all charts."""
    return sorted({str(row["group"]) for row in rows if row["group"] != OWN})


def pareto_rows(
    members: Sequence[Row], labels: Sequence[Any], sparsity: Sequence[float | None], scores: dict[str, float]
) -> list[Row]:
    """One a dictionary."""
    return [
        {
            "member": index,
            "label": name.label,
            "tag": name.tag,
            "series": name.series,
            "l0": number(sparse),
            **{column: number(row[column]) for column in ("fvu", "delta_ce", "dead")},
            "score": number(scores.get(row["member"])),
        }
        for index, (row, name, sparse) in enumerate(zip(members, labels, sparsity, strict=True))
    ]
