"""Deciles of a unit's windows by their peak, and the sample of each with its weights.

A stratum is a run of bins: the bins whose middle lies in the same tenth of the unit's windows. Where one bin holds more
than a tenth, it is a stratum of several tenths, named for the one in its middle, with a sample as many times as large;
the tenths beside it may then be missing.

    ω = windows · N / n      N windows of different documents in the stratum, n of them drawn, each standing for
                             `windows` windows of its document: Σω over a unit estimates, without bias, the number of
                             windows in which it fires.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .fired import borders, in_order
from .frame import Ints
from .reservoir import BINS, PER_BIN, PER_UNIT, Entries, Reservoir, ranks

DECILES = 10


class Drawn(NamedTuple):
    """One entry a window that was drawn, ordered by unit, decile, priority."""

    unit: Ints
    decile: Ints  # 0 the weakest
    document: Ints
    row: Ints  # of the peak, in the store
    windows: Ints  # of the document in which the unit fires
    population: Ints  # N
    sample: Ints  # n

    @property
    def weight(self) -> NDArray[np.float64]:
        return self.windows * self.population / self.sample


def draw(reservoir: Reservoir, per_decile: int = PER_BIN) -> Drawn:
    bins = reservoir.counts.pairs()
    total = bins.total.astype(np.int64)
    stratum = _decile(bins.unit, total) + DECILES * bins.unit
    groups = borders(stratum)
    population = np.add.reduceat(total, groups) if len(total) else total
    wanted = np.full(len(groups), per_decile)
    single = np.diff(np.append(groups, len(stratum))) == 1
    tenths = population * DECILES / np.maximum(_of_unit(bins.unit, total)[groups], 1)
    # More than `per_decile` of a stratum of several bins could not always be drawn with equal probabilities.
    wanted[single] *= np.maximum(1, np.round(tenths[single])).astype(np.int64)
    entries = reservoir.entries()
    place = np.searchsorted(bins.unit * BINS + bins.token, entries.key)
    of = np.searchsorted(stratum[groups], stratum[place])
    known = entries.priority <= _complete_below(entries, total, place, of, len(groups))
    entries, of = entries.take(known), of[known]
    order = in_order(of, entries.priority)
    order = order[ranks(of[order]) < wanted[of[order]]]
    entries, of = entries.take(order), of[order]
    sample = np.bincount(of, minlength=len(groups))
    unit, decile = np.divmod(stratum[groups][of], DECILES)
    document, windows = entries.document.astype(np.int64), entries.windows.astype(np.int64)
    return Drawn(unit, decile, document, entries.row, windows, population[of], sample[of])


def _decile(unit: Ints, total: Ints) -> Ints:
    """The tenth of its unit's windows in which the middle of each bin lies."""
    before = np.cumsum(total) - total
    starts = borders(unit)
    before -= np.repeat(before[starts], np.diff(np.append(starts, len(unit))))
    return (DECILES * (2 * before + total)) // np.maximum(2 * _of_unit(unit, total), 1)


def _of_unit(unit: Ints, total: Ints) -> Ints:
    """The number of windows of the unit of each bin."""
    if not len(unit):
        return total
    starts = borders(unit)
    return np.repeat(np.add.reduceat(total, starts), np.diff(np.append(starts, len(unit))))


def _complete_below(entries: Entries, total: Ints, place: Ints, of: Ints, n_strata: int) -> NDArray[np.uint64]:
    """Of each entry: up to which priority all windows of its stratum are at hand."""
    everything = np.uint64(2**64 - 1)
    by_bin = np.full(len(total), everything)
    order = in_order(place, entries.priority)
    last = order[ranks(place[order]) == PER_BIN - 1]
    short = total[place[last]] > PER_BIN
    by_bin[place[last][short]] = entries.priority[last][short]
    unit = entries.key // BINS  # entries are in order of unit and priority
    rank = ranks(unit)
    sizes = np.bincount(unit, minlength=1)
    least_of_unit = np.full(len(sizes), everything)
    many = np.zeros(len(sizes), dtype=np.int64)
    np.add.at(many, unit[place_first(place)], total[place[place_first(place)]])
    last = np.flatnonzero(rank == PER_UNIT - 1)
    last = last[many[unit[last]] > PER_UNIT]
    least_of_unit[unit[last]] = entries.priority[last]
    bound = np.maximum(by_bin[place], least_of_unit[unit])
    strata = np.full(n_strata, everything)
    np.minimum.at(strata, of, bound)
    return strata[of]


def place_first(place: Ints) -> Ints:
    """Index of one entry of each bin."""
    return np.unique(place, return_index=True)[1]
