"""What two sets of units have in common by their directions, beside what random directions would."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from actpipe.analysis.units import UnitSet
from sae.matching import best_cosines, chance_matched, chance_mmcs

from .assignment import MOST, mean_of_best_pairs

SAME = 0.7  # of both cosines, of what is written and what is read: the same unit (Paulo and Belrose, 2501.16615)
ASSIGNED = MOST  # units; one-to-one matching costs n³: half a second at 2304 where nothing is alike

Floats = NDArray[np.float64]


class Best(NamedTuple):
    """The unit of another set with the largest cosine, for each unit; all [n]."""

    other: NDArray[np.int64]
    cosine: Floats
    read: Floats  # cosine of the same two units' reading directions, NaN where one of the sets has none

    @property
    def same(self) -> NDArray[np.bool_]:
        """By what both write and read; by what they write alone where that is all there is."""
        return (self.cosine >= SAME) & ((self.read >= SAME) | np.isnan(self.read))


class Matched(NamedTuple):
    forward: Best  # of each unit of the first set in the second
    backward: Best
    chance_forward: float  # mean of the largest cosine with as many random directions
    chance_backward: float
    mcc: float  # mean cosine of the best one-to-one pairs; NaN beyond ASSIGNED units
    mcc_chance: float
    same_chance: float  # share that random directions in place of the second set would find: an upper bound, as reading
    same_chance_backward: float  # is left out of account


def matched(one: UnitSet, other: UnitSet) -> Matched:
    a, b = one.directions.float().cpu(), other.directions.float().cpu()
    d, assigned = a.shape[1], max(len(a), len(b)) <= ASSIGNED
    return Matched(
        forward=_best(one, other, a, b),
        backward=_best(other, one, b, a),
        chance_forward=chance_mmcs(len(b), d),
        chance_backward=chance_mmcs(len(a), d),
        mcc=mean_of_best_pairs((normalize(a, dim=1) @ normalize(b, dim=1).T).numpy()) if assigned else math.nan,
        mcc_chance=_mcc_chance(len(a), len(b), d) if assigned else math.nan,
        same_chance=share_by_chance(len(b), d, SAME),
        same_chance_backward=share_by_chance(len(a), d, SAME),
    )


def cosines(one: Tensor | None, other: Tensor | None, pairs: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Floats:
    """[p] of given pairs of rows; NaN where one side has no such rows, or rows of another width."""
    if one is None or other is None or one.shape[1] != other.shape[1]:
        return np.full(len(pairs[0]), np.nan)
    u, v = (torch.from_numpy(index) for index in pairs)
    found: Floats = cosine_similarity(one.float().cpu()[u], other.float().cpu()[v], dim=1).double().numpy()
    return found


def share_by_chance(n: int, d: int, at_least: float) -> float:
    """P(max of n cosines ≥ t) = 1 − (1 − q)ⁿ with q = P(cos ≥ t) = ½ I_{1−t²}((d − 1)/2, ½) of uniform directions."""
    from scipy.special import betainc

    q = 0.5 * float(betainc((d - 1) / 2, 0.5, 1 - at_least**2))
    return -math.expm1(n * math.log1p(-q))


def _best(one: UnitSet, other: UnitSet, a: Tensor, b: Tensor) -> Best:
    cosine, index = (each.numpy() for each in best_cosines(a, b))
    pairs = np.arange(len(a)), index
    return Best(index, cosine.astype(np.float64), cosines(one.reads, other.reads, pairs))


@cache
def _mcc_chance(n: int, m: int, d: int) -> float:
    """Once for all pairs of these sizes, because it costs as much as matching one."""
    return chance_matched(n, m, d)
