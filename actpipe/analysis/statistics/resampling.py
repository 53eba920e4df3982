"""The hierarchical bootstrap: what an average would have been with other seeds and other units.

    replicate b:  model seeds with replacement → of each a dictionary seed with replacement → of each chosen dictionary
                  its units with replacement within strata of density → the statistic of each → their mean

A statistic is a function of sums over units (a ratio of two, a regression), so a replicate is a row of counts times
the matrix of what is summed: all replicates and all metrics of a dictionary are one matrix product. Sources that share
seeds share the draws of seeds, and, where their units are the same ones, the draws of units: differences are paired.
What the interval of one dictionary speaks of is other units of the same densities. Densities themselves vary from seed
to seed, which resampled seeds show and a single one cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from .strata import Floats, Ints, pieces

REPLICATES = 2000
_MODELS, _DICTIONARIES, _UNITS = 0, 1, 2  # streams of random numbers that share nothing

Statistic = Callable[[Floats], Floats]  # sums [r, K] → values [r, C], NaN where undefined


@dataclass(frozen=True, kw_only=True)
class Units:
    """The units of one dictionary."""

    model: str  # model seed: dictionaries of one model are alike in more than chance
    dictionary: str  # dictionary seed, unique within the model
    sums: Floats  # [n, K] what is summed over units
    strata: Ints  # [n]
    statistic: Statistic


class Slots(NamedTuple):
    """Which dictionaries a replicate averages over; a dictionary may be there several times."""

    chosen: Ints  # [B, S], −1 where a model has fewer dictionaries than another
    weight: Floats  # [B, S], each row adds up to 1


@dataclass(frozen=True, kw_only=True)
class Replicated:
    """A statistic of a hierarchy: `value` [C], `replicates` [B, C] and `tops` [T, C], one row a seed of the highest
    level with more than one (models, else dictionaries)."""

    value: Floats
    replicates: Floats
    tops: Floats


def replicated(groups: Sequence[Units], *, seed: int, stream: int = 0, replicates: int = REPLICATES) -> Replicated:
    """Those of one configuration. `stream`: sources with equal ones draw the same units, which is right if unit i of
    the one is unit i of the other, and wrong otherwise."""
    each = np.concatenate([group.statistic(group.sums.sum(axis=0, keepdims=True)) for group in groups])  # [G, C]
    found = slots(groups, seed=seed, replicates=replicates)
    tops = _tops(groups, each)
    value = _mean(tops) if len({group.model for group in groups}) > 1 else _mean(each)
    return Replicated(value=value, replicates=_replicates(groups, found, seed, stream), tops=tops)


def slots(groups: Sequence[Units], *, seed: int, replicates: int) -> Slots:
    """Draws of seeds; groups with the same seeds give the same draws, whatever their units."""
    models = sorted({group.model for group in groups})
    order = sorted(range(len(groups)), key=lambda i: groups[i].dictionary)
    members = [[i for i in order if groups[i].model == model] for model in models]
    sizes = np.array([len(each) for each in members])
    deepest = int(sizes.max())
    table = np.full((len(models), deepest), -1)
    for row, each in zip(table, members, strict=True):
        row[: len(each)] = each
    model = np.random.default_rng([seed, _MODELS]).integers(len(models), size=(replicates, len(models)))
    drawn = np.random.default_rng([seed, _DICTIONARIES]).random((replicates, len(models), deepest))
    size = sizes[model][..., None]
    chosen = table[model[..., None], (drawn * size).astype(np.int64)]
    real = np.arange(deepest) < size
    weight = np.where(real, 1.0 / (size * len(models)), 0.0)
    return Slots(np.where(real, chosen, -1).reshape(replicates, -1), weight.reshape(replicates, -1))


def _replicates(groups: Sequence[Units], found: Slots, seed: int, stream: int) -> Floats:
    """[B, C]. A dictionary that is chosen twice draws its units twice."""
    total = weight = np.zeros(0)
    for number, group in enumerate(groups):
        replicate, slot = np.nonzero(found.chosen == number)
        random = np.random.default_rng([seed, _UNITS, stream, number])
        values = group.statistic(resampled(group.sums, group.strata, times=len(replicate), random=random))
        if not number:
            total, weight = np.zeros((2, len(found.chosen), values.shape[1]))
        defined = np.isfinite(values)
        share = found.weight[replicate, slot][:, None] * defined
        np.add.at(total, replicate, share * np.where(defined, values, 0.0))
        np.add.at(weight, replicate, share)
    with np.errstate(invalid="ignore"):
        means: Floats = total / np.where(weight > 0, weight, np.nan)
    return means


def resampled(sums: Floats, labels: Ints, *, times: int, random: np.random.Generator) -> Floats:
    """[times, K] from [n, K]: the sums of as many units, drawn with replacement within strata.

    Of n units n − 1 are drawn, each counting n/(n − 1) times (Rao and Wu 1988): the variance of n draws is too small by
    a factor (n − 1)/n, which strata of 20 would turn into intervals that are 3 % too short.
    """
    total = np.zeros((times, sums.shape[1]))
    offset = np.arange(times)[:, None]
    for members in pieces(labels):
        n = len(members)
        draws = max(n - 1, 1)
        drawn = random.integers(n, size=(times, draws)) + offset * n
        counts = np.bincount(drawn.reshape(-1), minlength=times * n).reshape(times, n)
        # By torch, which keeps to the number of threads it was given: several members are resampled at once.
        total += (torch.from_numpy(counts).double() @ torch.from_numpy(sums[members] * (n / draws))).numpy()
    return total


def _tops(groups: Sequence[Units], each: Floats) -> Floats:
    models = sorted({group.model for group in groups})
    if len(models) == 1:
        return each
    return np.stack([_mean(each[[group.model == model for group in groups]]) for model in models])


def _mean(rows: Floats) -> Floats:
    """Over rows, of those that are defined."""
    defined = np.isfinite(rows)
    count = defined.sum(axis=0)
    means: Floats = np.where(defined, rows, 0.0).sum(axis=0) / np.where(count > 0, count, np.nan)
    return means


def ratio(sums: Floats) -> Floats:
    """Statistic: the first half of the columns over the second half."""
    half = sums.shape[1] // 2
    means: Floats = sums[:, :half] / np.where(sums[:, half:] > 0, sums[:, half:], np.nan)
    return means
