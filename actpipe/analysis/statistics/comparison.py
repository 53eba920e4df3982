"""The means of one dictionary, or of one configuration over its seeds, beside those of its controls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.scores import Metric

from .intervals import (
    FEW_SEEDS,
    Influence,
    Interval,
    bca,
    expanded,
    influence,
    percentile,
    without_each,
    without_each_seed,
)
from .measured import Averages, Layout, Measured, layout, sums_over_units
from .resampling import Replicated, Units, replicated
from .strata import Floats, strata


@dataclass(frozen=True, kw_only=True)
class Request:
    members: Sequence[Measured]
    controls: Mapping[str, Sequence[Measured]]  # of each member one, in their order
    metrics: Sequence[Metric]
    target: Floats  # densities to adjust to
    nulls: Mapping[str, float]
    seed: int
    replicates: int
    stream: int = 0  # of the draws of units: requests with equal ones are about the same units

    @property
    def signs(self) -> Floats:
        """[M] −1 where lower is better."""
        return np.array([-1.0 if metric.better == "lower" else 1.0 for metric in self.metrics])


class Source(NamedTuple):
    """Members, or one control of theirs, and what the bootstrap says of their means."""

    measured: Sequence[Measured]
    groups: list[Units]
    found: Replicated  # columns C: plain [2, 3, M], then (of members) imputed [2, 3, M] and adjusted [3, M]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Columns of everything about controls are those of the plain means, [2 · 3 · M]."""

    request: Request
    source: Source
    controls: dict[str, Source]
    chosen: NDArray[np.int64]  # [6M] number of the hardest control, −1 where there is none
    nulls: Floats  # [6M]

    @property
    def plain(self) -> int:
        return len(self.chosen)

    @property
    def method(self) -> str:
        one = len(self.source.groups) == 1
        return "bca" if one or len(self.source.found.tops) >= FEW_SEEDS else "percentile"

    @property
    def level(self) -> float:
        return expanded(len(self.source.found.tops))

    @cached_property
    def interval(self) -> Interval:
        """[C] of the means."""
        found = self.source.found
        if self.method == "percentile":
            return percentile(found.replicates, level=self.level)
        return bca(found.replicates, found.value, _influence(self.source).acceleration, level=self.level)

    @cached_property
    def control(self) -> Replicated:
        """Of the hardest control: the values and seeds of the chosen one, and replicates in which each may be it."""
        sources = list(self.controls.values())
        signs = np.tile(self.request.signs, self.plain // len(self.request.signs))
        replicates = np.full((self.request.replicates, self.plain), np.nan)
        for source in sources:
            replicates = np.fmax(replicates, signs * source.found.replicates)
        value = self.pick([source.found.value for source in sources])
        tops = [self.pick([source.found.tops[t] for source in sources]) for t in range(len(self.source.found.tops))]
        return Replicated(value=value, replicates=signs * replicates, tops=np.array(tops))

    @cached_property
    def differences(self) -> Floats:
        """[B, 6M]"""
        found: Floats = self.source.found.replicates[:, : self.plain] - self.control.replicates
        return found

    @cached_property
    def delta(self) -> Floats:
        found: Floats = self.source.found.value[: self.plain] - self.control.value
        return found

    @cached_property
    def delta_interval(self) -> Interval:
        if self.method == "percentile" or not self.controls:
            return percentile(self.differences, level=self.level)
        return bca(self.differences, self.delta, self._delta_influence().acceleration, level=self.level)

    @property
    def delta_tops(self) -> Floats:
        """[T, 6M] a difference a seed."""
        found: Floats = self.source.found.tops[:, : self.plain] - self.control.tops
        return found

    def pick(self, rows: Sequence[Floats]) -> Floats:
        return _pick(rows, self.chosen)

    def _delta_influence(self) -> Influence:
        if len(self.source.groups) > 1:
            return influence(without_each_seed(self.delta_tops))
        own = without_each(self.source.groups[0])[:, : self.plain]
        each = [_of_difference(own, source) for source in self.controls.values()]
        return Influence(self.pick([one.squares for one in each]), self.pick([one.cubes for one in each]))


def compared(request: Request) -> Comparison:
    m = len(request.metrics)
    controls = {
        name: _source(request, found, stream=request.stream + (0 if found[0].same_units else 1 + number))
        for number, (name, found) in enumerate(request.controls.items())
    }
    values = [source.found.value for source in controls.values()]
    chosen = _hardest(request, values)
    known = np.tile([request.nulls.get(metric.name, np.nan) for metric in request.metrics], 6)
    nulls = np.where(np.isfinite(known), known, _pick(values, chosen))
    source = _source(request, request.members, stream=request.stream, nulls=nulls.reshape(2, 3, m))
    return Comparison(request=request, source=source, controls=controls, chosen=chosen, nulls=nulls)


def _source(request: Request, measured: Sequence[Measured], *, stream: int, nulls: Floats | None = None) -> Source:
    """With `nulls` the imputed and the adjusted means too."""
    groups = []
    for each, member in zip(measured, request.members, strict=True):
        table = each.table([metric.name for metric in request.metrics])
        found = layout(table)
        groups.append(
            Units(
                model=member.model,
                dictionary=member.dictionary,
                sums=sums_over_units(each, table, found, request.target),
                # The same units are drawn from the same strata, or the draws would not be the same.
                strata=strata(member.density if each.same_units else each.density),
                statistic=_statistic(found, nulls),
            )
        )
    of_means = replicated(groups, seed=request.seed, stream=stream, replicates=request.replicates)
    return Source(measured, groups, of_means)


def _statistic(found: Layout, nulls: Floats | None) -> Callable[[Floats], Floats]:
    def flat(sums: Floats) -> Floats:
        averages: Averages = found.averages(sums, np.zeros((2, 3, found.metrics)) if nulls is None else nulls)
        wanted = averages[:1] if nulls is None else averages
        return np.concatenate([each.reshape(len(sums), math.prod(each.shape[1:])) for each in wanted], axis=1)

    return flat


def _hardest(request: Request, values: Sequence[Floats]) -> NDArray[np.int64]:
    signs = np.tile(request.signs, 6)
    if not values:
        return np.full(len(signs), -1)
    hardness = np.where(np.isfinite(values), signs * np.stack(values), -np.inf)
    return np.where(np.isfinite(hardness).any(axis=0), hardness.argmax(axis=0), -1)


def _pick(rows: Sequence[Floats], chosen: NDArray[np.int64]) -> Floats:
    """[6M]: each column from the row of the control that was chosen for it."""
    if not rows:
        return np.full(len(chosen), np.nan)
    return np.where(chosen >= 0, np.stack(rows)[chosen, np.arange(len(chosen))], np.nan)


def _influence(source: Source) -> Influence:
    if len(source.groups) > 1:
        return influence(without_each_seed(source.found.tops))
    return influence(without_each(source.groups[0]))


def _of_difference(own: Floats, control: Source) -> Influence:
    left_out = without_each(control.groups[0])
    if control.measured[0].same_units:
        return influence(own - left_out)
    return influence(own).minus(influence(left_out))
