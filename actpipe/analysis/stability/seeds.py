"""What trainings of one configuration have in common that differ in the seed: unit by unit and pair by pair.

A direction that only one seed finds is an accident of its start. Every share stands beside what chance gives: random
directions for cosines, moved rows for correlations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actpipe.analysis.threads import one_thread_each
from actpipe.analysis.units import UnitSet

from .code_sample import CodeSample
from .directions import Best, Floats, Matched, cosines, matched
from .functional import ALIKE, Functional, functional_match, of_pairs
from .tables import FOUND, MATCHES, PAIRS, table


@dataclass(frozen=True, kw_only=True)
class Side:
    """A member. `configuration`: the same for members that differ in the seed alone."""

    member: str
    configuration: str
    units: UnitSet
    sample: CodeSample | None  # None: directions only


class Stability(NamedTuple):
    pairs: pa.Table
    matches: pa.Table
    found: pa.Table


class Pair(NamedTuple):
    one: Side
    other: Side
    directions: Matched
    functional: Functional | None


def stability(sides: Sequence[Side]) -> Stability:
    """Of all pairs of members of one hook that differ in the seed alone."""
    groups: dict[tuple[str, str, str], list[Side]] = {}
    for side in sides:
        groups.setdefault((side.units.hook, side.units.writes, side.configuration), []).append(side)
    pairs, matches, found = [], [], []
    for group in groups.values():
        tallies = {side.member: _Tally(side) for side in group}
        for each in _reported(list(combinations(group, 2))):
            pairs.append(each.summary)
            for way in each.ways:
                matches += way.matches
                tallies[way.member].add(way)
        found += [tally.columns() for tally in tallies.values() if tally.seeds]
    return Stability(table(PAIRS, pairs), table(MATCHES, matches), table(FOUND, found))


class _Found(NamedTuple):
    """What is listed of a pair as one of the two sees it."""

    member: str
    matches: list[dict[str, Any]]
    best: Best
    same_chance: float
    correlation: Floats | None
    correlation_chance: Floats | None


class _Reported(NamedTuple):
    summary: dict[str, Any]
    ways: list[_Found]


def _reported(pairs: Sequence[tuple[Side, Side]]) -> Iterator[_Reported]:
    """In order."""

    def report(sides: tuple[Side, Side]) -> _Reported:
        pair = compared(*sides)
        return _Reported(_summary(pair), [_found(way) for way in _ways(pair)])

    with one_thread_each(len(pairs)) as pool:
        yield from pool.map(report, pairs)


def compared(one: Side, other: Side) -> Pair:
    """Any two members whose directions have one width, and whose samples, if any, are of the same text."""
    samples = None if one.sample is None or other.sample is None else (one.sample, other.sample)
    return Pair(one, other, matched(one.units, other.units), functional_match(*samples) if samples else None)


class _Way(NamedTuple):
    """A pair as one of the two sees it."""

    one: Side
    other: Side
    best: Best
    same_chance: float
    functional: Functional | None  # turned so that `one` is its first


def _ways(pair: Pair) -> Iterator[_Way]:
    directions, functional = pair.directions, pair.functional
    turned = functional.turned() if functional is not None else None
    yield _Way(pair.one, pair.other, directions.forward, directions.same_chance, functional)
    yield _Way(pair.other, pair.one, directions.backward, directions.same_chance_backward, turned)


def _found(way: _Way) -> _Found:
    f = way.functional
    correlation, chance = (None, None) if f is None else (f.forward.correlation, f.chance_forward)
    return _Found(way.one.member, list(_matches(way)), way.best, way.same_chance, correlation, chance)


class _Tally:
    """In how many of the other seeds each unit of a member is found."""

    def __init__(self, side: Side) -> None:
        self.side, self.seeds = side, 0
        self.directions, self.functions, self.asked = np.zeros((3, side.units.n), np.int64)
        self.direction_chance = self.function_chance = 0.0

    def add(self, way: _Found) -> None:
        self.seeds += 1
        self.directions += way.best.same
        self.direction_chance += way.same_chance
        if way.correlation is not None and way.correlation_chance is not None:
            self.asked += np.isfinite(way.correlation)
            self.functions += np.nan_to_num(way.correlation) >= ALIKE
            self.function_chance += np.nan_to_num(share(way.correlation_chance))

    def columns(self) -> dict[str, Any]:
        n, asked = self.side.units.n, self.asked
        return {
            "member": [self.side.member] * n,
            "feature": self.side.units.feature,
            "sign": self.side.units.sign,
            "seeds": np.full(n, self.seeds),
            "by_direction": self.directions,
            "by_direction_chance": np.full(n, self.direction_chance),
            "seeds_by_function": asked,
            "by_function": np.where(asked > 0, self.functions, np.nan),
            "by_function_chance": np.where(asked > 0, self.function_chance * asked / self.seeds, np.nan),
        }


def _summary(pair: Pair) -> dict[str, Any]:
    d, f = pair.directions, pair.functional
    numbers = {
        "units": pair.one.units.n,
        "other_units": pair.other.units.n,
        "mmcs_forward": d.forward.cosine.mean(),
        "mmcs_backward": d.backward.cosine.mean(),
        "chance_forward": d.chance_forward,
        "chance_backward": d.chance_backward,
        "mcc": d.mcc,
        "mcc_chance": d.mcc_chance,
        "shared_share": d.forward.same.mean(),
        "shared_chance": d.same_chance,
    }
    if f is not None:
        numbers |= {
            "rows": f.rows,
            "functional_units": int(np.isfinite(f.forward.correlation).sum()),
            "functional_forward": mean(f.forward.correlation),
            "functional_backward": mean(f.backward.correlation),
            "functional_chance_forward": mean(f.chance_forward),
            "functional_chance_backward": mean(f.chance_backward),
            "functional_mcc": f.mcc,
            "functional_mcc_chance": f.mcc_chance,
            "functional_shared": share(f.forward.correlation),
            "functional_shared_chance": share(f.chance_forward),
        }
    return {"member": [pair.one.member], "other": [pair.other.member], **{k: [v] for k, v in numbers.items()}}


def _matches(way: _Way) -> Iterator[dict[str, Any]]:
    everyone = np.arange(way.one.units.n)
    yield _match_columns(way, "direction", everyone, way.best.other)
    if way.functional is not None:
        function = way.functional.forward
        with_one = np.flatnonzero((function.other >= 0) & np.isfinite(function.correlation))
        yield _match_columns(way, "function", with_one, function.other[with_one])


def _match_columns(way: _Way, by: str, unit: NDArray[np.int64], other: NDArray[np.int64]) -> dict[str, Any]:
    one, two = way.one.units, way.other.units
    nothing = np.full(len(unit), np.nan)
    of = of_pairs(way.functional, unit, other) if way.functional is not None else (nothing, nothing)
    return {
        "member": [way.one.member] * len(unit),
        "feature": one.feature[unit],
        "sign": one.sign[unit],
        "other": [way.other.member] * len(unit),
        "other_feature": two.feature[other],
        "other_sign": two.sign[other],
        "by": [by] * len(unit),
        "cosine": cosines(one.directions, two.directions, (unit, other)),
        "read_cosine": cosines(one.reads, two.reads, (unit, other)),
        "correlation": of[0],
        "jaccard": of[1],
    }


def share(correlation: Floats) -> float:
    """Of the units that fire often enough, those that some unit does the same as."""
    defined = correlation[np.isfinite(correlation)]
    return float((defined >= ALIKE).mean()) if len(defined) else float("nan")


def mean(correlation: Floats) -> float:
    defined = correlation[np.isfinite(correlation)]
    return float(defined.mean()) if len(defined) else float("nan")
