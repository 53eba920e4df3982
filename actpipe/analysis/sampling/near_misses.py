"""Windows that fire a neighbour of a unit but not the unit: what an explanation is most easily wrong about.

Neighbours are the five units with the nearest directions (largest cosine) and the five that fire most on the same
tokens (largest φ on a sample of the other splits). Candidates are windows that were drawn for a neighbour, a few of
each; kept are those on which the unit is silent, one a document.

    ω = ω_g · n_g/m_g · w_d · D/n    ω_g: weight of the window among those that fire neighbour g; m_g of g's n_g drawn
                                     windows were candidates; w_d silent candidates lie in the window's document; D
                                     documents have one, n of them were drawn. Σω estimates how many windows fire a
                                     neighbour and not the unit, each counted once for every neighbour that it fires.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from actpipe.analysis.neighbours import nearest_directions
from actpipe.analysis.stability.cofiring import cofiring

from .fired import borders, drawn_by
from .frame import Ints
from .reservoir import ranks
from .strata import Drawn

NEIGHBOURS = 5  # of either kind
_EACH = 10  # candidates of a neighbour


class Pairs(NamedTuple):
    """Of a unit and a neighbour, in order."""

    unit: Ints
    other: Ints


class Candidates(NamedTuple):
    unit: Ints
    drawn: Ints  # which window of `Drawn`: it fires a neighbour of the unit
    weight: NDArray[np.float64]


class NearMisses(NamedTuple):
    """One entry a window, ordered by unit."""

    unit: Ints
    drawn: Ints
    weight: NDArray[np.float64]
    population: Ints  # estimated
    sample: Ints


def neighbours(units: Ints, directions: Tensor | None, codes: csr_matrix) -> Pairs:
    """Of `units`; `directions` [n, d] of all where they are known, `codes` [rows, n] a sample."""
    n = codes.shape[1]
    together = cofiring(codes, keep=NEIGHBOURS)
    mine = np.isin(together.unit, units)
    keys = [together.unit[mine].astype(np.int64) * n + together.other[mine]]
    if directions is not None and len(units):
        near = nearest_directions(directions, keep=NEIGHBOURS, of=units).unit.astype(np.int64)
        keys.append((units[:, None] * n + near).reshape(-1))
    return Pairs(*np.divmod(np.unique(np.concatenate(keys)), max(n, 1)))


def candidates(pairs: Pairs, drawn: Drawn, n_units: int, word: np.uint64) -> Candidates:
    """Of every unit that has windows of its own."""
    order = np.lexsort((drawn_by(drawn.unit, drawn.row, word), drawn.unit))
    order = order[ranks(drawn.unit[order]) < _EACH]
    sizes = np.bincount(drawn.unit, minlength=n_units)
    taken = np.minimum(sizes, _EACH)
    first = np.cumsum(taken) - taken  # of each unit's candidates in `order`
    alive = (sizes[pairs.unit] > 0) & (taken[pairs.other] > 0)
    unit, other = pairs.unit[alive], pairs.other[alive]
    counts = taken[other]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = order[np.repeat(first[other], counts) + within]
    return Candidates(np.repeat(unit, counts), chosen, drawn.weight[chosen] * np.repeat(sizes[other] / counts, counts))


def near_misses(
    found: Candidates, fires: NDArray[np.bool_], drawn: Drawn, keep: int, n_units: int, word: np.uint64
) -> NearMisses:
    """`fires`: of each candidate, whether the unit does."""
    silent = Candidates._make(column[~fires] for column in found)
    document = drawn.document[silent.drawn]
    order = np.lexsort((drawn_by(silent.unit, drawn.row[silent.drawn], word), document, silent.unit))
    groups = borders(silent.unit[order], document[order])
    counts = np.diff(np.append(groups, len(order)))
    one = order[groups]  # of each document
    unit, weight = silent.unit[one], silent.weight[one] * counts
    documents = np.bincount(unit, minlength=n_units)
    totals = np.bincount(silent.unit, weights=silent.weight, minlength=n_units)
    by_draw = np.lexsort((drawn_by(unit, document[one], word + np.uint64(1)), unit))
    by_draw = by_draw[ranks(unit[by_draw]) < keep]
    unit, sample = unit[by_draw], np.minimum(documents, keep)
    return NearMisses(
        unit,
        silent.drawn[one[by_draw]],
        weight[by_draw] * documents[unit] / sample[unit],
        np.round(totals).astype(np.int64)[unit],
        sample[unit],
    )
