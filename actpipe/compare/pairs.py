"""Every two arms in every design, every metric and stratum: the difference, its interval, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from actpipe.analysis.multiplicity import holm
from actpipe.analysis.statistics.equivalence import margin_of, margins_of
from actpipe.analysis.statistics.intervals import expanded, percentile, two_sided_p
from actpipe.analysis.statistics.measured import STRATA
from actpipe.analysis.statistics.strata import Floats
from actpipe.analysis.threads import one_thread_each

from .designs import Design, designs
from .estimates import Drawn, mixed
from .measures import role
from .overlap import LEAST_OVERLAP, common
from .stand import Row, Stand, at_densities

ALPHA = 0.05
FEWEST = 10  # units of an arm with a score; a bootstrap of fewer has intervals that are far too short
ESTIMATES = ("mean", "density_adjusted", "above_control", "contribution")


class Sides(NamedTuple):
    """Two arms at one place."""

    first: Stand
    second: Stand
    designs: list[Design]

    @classmethod
    def of(cls, first: Stand, second: Stand) -> Sides:
        return cls(first, second, designs(first.arm, second.arm, first.coordinates, second.coordinates))

    @property
    def same(self) -> bool:
        return self.first.streams == self.second.streams

    @property
    def seeds(self) -> tuple[int, int]:
        return self.first.seeds, self.second.seeds

    @property
    def names(self) -> tuple[str, str]:
        return self.first.arm.name, self.second.arm.name

    def design(self, name: str) -> Design:
        return next(design for design in self.designs if design.name == name)


def design_rows(sides: Sequence[Sides], *, twin: bool) -> list[Row]:
    """Rows of designs.parquet."""
    rows = []
    for each in sides:
        for design in each.designs:
            row: Row = {"first": each.names[0], "second": each.names[1], "twin": twin, "place": each.first.place}
            row |= {"design": design.name, "status": design.status, "reason": design.reason}
            for side, stood, weights in (("first", each.first, design.first), ("second", each.second, design.second)):
                found = [c for c in stood.coordinates if c is not None]
                known = weights is not None and len(found) == len(stood.coordinates)
                loss, l0 = ([getattr(c, name) for c in found] for name in ("loss", "log_l0"))
                row[f"{side}_loss"] = float(weights @ np.array(loss)) if known else np.nan
                row[f"{side}_l0"] = float(2 ** (weights @ np.array(l0))) if known else np.nan
            rows.append(row)
    return rows


def pair_rows(sides: Sequence[Sides], *, twin: bool) -> list[Row]:
    """Rows of pairs.parquet: those of designs that the two arms allow."""
    matched = [(each, design) for each in sides for design in each.designs if design.first is not None]
    with one_thread_each(len(matched)) as pool:
        found = pool.map(lambda one: _of_pair(one[0], one[1], twin), matched)
        rows = [row for each in found for row in each if max(_counts(row)) > 0]
    families: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        families.setdefault(tuple(row[name] for name in ("role", "stratum", "estimate", "design", "place")), []).append(
            row
        )
    for family in families.values():
        for row, p in zip(family, holm(np.array([row["p"] for row in family])).tolist(), strict=True):
            row["p_holm"] = p
    for row in rows:
        row["verdict"] = _verdict(row)
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def _of_pair(sides: Sides, design: Design, twin: bool) -> list[Row]:
    first, second = sides.first, sides.second
    assert design.first is not None
    assert design.second is not None
    metrics, n = first.metrics, len(first.metrics)
    shared = common(_mixture(first, design.first), _mixture(second, design.second))

    def both(name: str) -> tuple[Drawn, Drawn]:
        return tuple(
            mixed([getattr(level, name) for level in stood.levels], weights)  # type: ignore[return-value]
            for stood, weights in ((first, design.first), (second, design.second))
            if weights is not None
        )

    drawn: Mapping[str, tuple[Drawn, Drawn]] = {
        "mean": both("mean"),
        "density_adjusted": (
            at_densities(first, design.first, shared.target),
            at_densities(second, design.second, shared.target),
        ),
        "above_control": both("above_control"),
        "contribution": both("contribution"),
    }
    found = {name: _differences(sides, *drawn[name]) for name in ESTIMATES}
    counts = [_units(stood, weights) for stood, weights in ((first, design.first), (second, design.second))]
    return [
        {
            "first": sides.names[0],
            "second": sides.names[1],
            "twin": twin,
            "place": first.place,
            "design": design.name,
            "metric": metric.name,
            "role": role(metric.name),
            "stratum": stratum,
            "estimate": estimate,
            "better": metric.better,
            **{name: float(values[s * n + m]) for name, values in found[estimate].items()},
            "first_n": int(counts[0][s * n + m]),
            "second_n": int(counts[1][s * n + m]),
            "overlap": float(shared.overlap[s, m]),
            "_same": sides.same,
        }
        for m, metric in enumerate(metrics)
        for s, stratum in enumerate(STRATA)
        for estimate in ESTIMATES
    ]


def _mixture(stood: Stand, weights: Floats) -> Floats:
    mixture: Floats = np.einsum("l,lsmn->smn", weights, np.stack(stood.densities))
    return mixture


def _units(stood: Stand, weights: Floats) -> Floats:
    """[C] units with a score, of levels with a weight."""
    counts = [[row["n"] or 0 for row in level.means] for level in stood.levels]
    found: Floats = np.array(counts, np.float64)[weights > 0].sum(axis=0)
    return found


def _differences(sides: Sides, first: Drawn, second: Drawn) -> dict[str, Floats]:
    """Each [C]. Keys that begin with _ are for the verdict alone."""
    differences = first.replicates - second.replicates
    margins = margins_of([metric.name for metric in sides.first.metrics])

    def interval(level: float) -> tuple[Floats, Floats]:
        return percentile(differences, level=max(expanded(seeds, level=level) for seeds in sides.seeds))

    (low, high), (inner_low, inner_high) = interval(1 - ALPHA), interval(1 - 2 * ALPHA)
    return {
        "first_value": first.value,
        "second_value": second.value,
        "difference": first.value - second.value,
        "low": low,
        "high": high,
        "p": two_sided_p(differences),
        "p_equivalent": _p_equivalent(differences, np.tile(margins, len(STRATA))),
        "_inner_low": inner_low,
        "_inner_high": inner_high,
    }


def _p_equivalent(differences: Floats, margins: Floats) -> Floats:
    """[C]: two one-sided tests as in `statistics.equivalence`, over the replicates [B, C] that are defined."""
    defined = np.isfinite(differences).sum(axis=0)
    with np.errstate(invalid="ignore"):
        beyond = np.maximum((differences <= -margins).sum(axis=0), (differences >= margins).sum(axis=0))
    p: Floats = np.where(defined > 0, (1 + beyond) / (defined + 1), np.nan)
    return p


def _verdict(row: Row) -> str:
    """Of the first arm."""
    if row["estimate"] == "density_adjusted" and row["overlap"] < LEAST_OVERLAP and min(_counts(row)) > 0:
        return "no overlap"
    if min(_counts(row)) < (1 if row["_same"] else FEWEST) or np.isnan(row["low"]):
        return "undecided"
    low, high = (row["low"], row["high"]) if row["better"] == "higher" else (-row["high"], -row["low"])
    margin = margin_of(row["metric"])
    if row["p_holm"] < ALPHA and (low > margin or high < -margin):
        return "better" if low > margin else "worse"
    inside = row["_inner_low"] > -margin and row["_inner_high"] < margin
    return "no difference" if inside and row["p_equivalent"] < ALPHA else "undecided"


def _counts(row: Row) -> tuple[int, int]:
    return row["first_n"] or 0, row["second_n"] or 0
