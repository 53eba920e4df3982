"""The scores of one subject's units, and the sums over units from which all its means follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .strata import Floats, Ints, covered, post_stratified

WEIGHTINGS = ("units", "contribution")
STRATA = ("all", "token_units", "context_units")
TOKEN_UNIT = 0.8  # token R² above: the unit is a function of the current token, mostly
FEWEST_OF_A_CONTROL = 8  # with fewer in a stratum the control's units stand in for it as a whole


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All arrays [n], a value a unit. Controls are measured subjects too: `member` is whose control it is."""

    member: str
    configuration: str  # members of one configuration differ in seeds alone
    dictionary: str  # the dictionary's seed
    model: str = ""  # the model and its seed
    control: str | None = None
    same_units: bool = False  # unit i of the control is unit i of the member, NaN where it was not computed
    values: Mapping[str, Floats]  # metric → NaN where undefined
    density: Floats  # 0: the unit never fired; it is counted as dead, and no mean includes it
    mass: Floats  # Σ a·‖w‖ over rows: the unit's share in what the dictionary says
    token_r2: Floats

    def __post_init__(self) -> None:
        arrays = {"density": self.density, "mass": self.mass, "token_r2": self.token_r2, **self.values}
        lengths = {name: len(values) for name, values in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise Misuse(f"{self.member} must have one value a unit in every column, not {lengths}")

    @property
    def alive(self) -> NDArray[np.bool_]:
        return self.density > 0

    def table(self, metrics: Sequence[str]) -> Floats:
        """[n, M]; a metric that the subject lacks is undefined everywhere."""
        nothing = np.full(len(self.density), np.nan)
        return np.stack([self.values.get(name, nothing) for name in metrics], axis=1).astype(np.float64)

    def weights(self) -> Floats:
        """[2, 3, n]: weightings and strata; dead units weigh nothing."""
        with np.errstate(invalid="ignore"):
            token, context = self.token_r2 > TOKEN_UNIT, self.token_r2 <= TOKEN_UNIT
        inside = np.stack([self.alive, self.alive & token, self.alive & context]).astype(np.float64)
        if self.control is not None and not self.same_units:
            inside[inside.sum(axis=1) < FEWEST_OF_A_CONTROL] = inside[0]
        return np.stack([inside, inside * np.nan_to_num(self.mass)])


class Averages(NamedTuple):
    """What a statistic of the sums gives, for M metrics."""

    plain: Floats  # [r, 2, 3, M]
    imputed: Floats  # [r, 2, 3, M] undefined scores counted at the null
    adjusted: Floats  # [r, 3, M] of units, each weighted so that densities are those of the reference


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which columns of the sums hold what. Metrics that are undefined for the same units share their denominators, of
    which there are P."""

    metrics: int
    patterns: int
    pattern: Ints  # [M]

    @property
    def borders(self) -> list[int]:
        m, p = self.metrics, self.patterns
        return [6 * m, 6 * (m + p), 6 * (m + p + 1), 9 * m + 6 * (p + 1)]

    def averages(self, sums: Floats, nulls: Floats) -> Averages:
        """Of sums [r, K]; `nulls` [2, 3, M]: what an undefined score is imputed at."""
        r, m, p = len(sums), self.metrics, self.patterns
        top, bottom, everything, adjusted, reference = np.split(sums, self.borders, axis=1)
        mass = top.reshape(r, 2, 3, m)
        defined = bottom.reshape(r, 2, 3, p)[..., self.pattern]
        total = everything.reshape(r, 2, 3, 1)
        weight = reference.reshape(r, 3, p)[..., self.pattern]
        return Averages(
            plain=_over(mass, defined),
            # Where nothing is undefined the null does not matter, even if there is none.
            imputed=_over(mass + np.where(total > defined, nulls, 0.0) * np.maximum(total - defined, 0), total),
            adjusted=_over(adjusted.reshape(r, 3, m), weight),
        )


def layout(table: Floats) -> Layout:
    patterns, pattern = np.unique(np.isfinite(table), axis=1, return_inverse=True)
    return Layout(metrics=table.shape[1], patterns=patterns.shape[1], pattern=pattern.reshape(-1))


def sums_over_units(measured: Measured, table: Floats, found: Layout, target: Floats) -> Floats:
    """[n, K] as `found` lays them out. `target` [N_BINS]: densities to adjust to."""
    n = len(table)
    defined = np.isfinite(table)
    values = np.where(defined, table, 0.0)
    first = np.array([int(np.flatnonzero(found.pattern == p)[0]) for p in range(found.patterns)], np.int64)
    weights = np.moveaxis(measured.weights(), -1, 0)[..., None]  # [n, 2, 3, 1]
    reference = _adjusting(measured, defined[:, first], target)  # [n, 3, P]
    parts = [
        weights * values[:, None, None, :],
        weights * defined[:, first][:, None, None, :],
        weights,
        reference[..., found.pattern] * values[:, None, :],
        reference,
    ]
    return np.concatenate([part.reshape(n, math.prod(part.shape[1:])) for part in parts], axis=1)


def _adjusting(measured: Measured, defined: NDArray[np.bool_], target: Floats) -> Floats:
    inside = measured.weights()[0] > 0  # [3, n]
    found = np.zeros((len(defined), len(STRATA), defined.shape[1]))
    for s, stratum in enumerate(inside):
        for p in range(defined.shape[1]):
            found[:, s, p] = post_stratified(measured.density, target, stratum & defined[:, p])
    return found


class Counts(NamedTuple):
    """Units behind the means, [2, 3, M]."""

    n: Floats  # defined
    effective: Floats  # (Σ weight)² / Σ weight² (Kish): how many units of equal weight say as much
    undefined: Floats  # alive and in the stratum, but without a score
    coverage: Floats  # [3, M] share of the target's densities at which the stratum has units with a score

    def plus(self, other: Counts) -> Counts:
        return Counts(*(mine + yours for mine, yours in zip(self, other, strict=True)))


def counts(measured: Measured, table: Floats, target: Floats) -> Counts:
    defined = np.isfinite(table).astype(np.float64)
    weights = measured.weights()
    inside = (weights > 0).astype(np.float64)
    n = inside @ defined
    squares = (weights**2) @ defined
    effective = (weights @ defined) ** 2 / np.where(squares > 0, squares, np.nan)
    shares = [[covered(measured.density, target, (each > 0) & (d > 0)) for d in defined.T] for each in inside[0]]
    return Counts(n, effective, inside.sum(axis=-1)[..., None] - n, np.array(shares))


def _over(top: Floats, bottom: Floats) -> Floats:
    found: Floats = top / np.where(bottom > 0, bottom, np.nan)
    return found
