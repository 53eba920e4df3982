"""How much of one set of directions is found in another, and how much of that chance alone would find.

MMCS(A → B) = mean over a of max over b of cos(a, b) (Sharkey et al. 2022). It is not symmetric: a small set may be
found in a large one and not the other way round. Even random directions find each other: with n of them in d dimensions
the best of n cosines is about √(2 ln n / d), so a value means something above that only.

Cosines keep their sign. `absolute=True` takes |cos|, for directions whose codes have both signs (PCA, ICA).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .start import random_directions

AT_ONCE = 1024  # rows of a block of cosines: 64 MiB in float32 against 16,384 directions
# An assignment needs all cosines at once in float64 (3 GB at this size) and minutes of one core.
LARGEST_ASSIGNMENT = 20_000


@dataclass(frozen=True, kw_only=True)
class Matching:
    """One-to-one pairs with the largest possible sum of cosines; as many as the smaller set has directions."""

    pairs: Tensor  # [k, 2] int64, position in the one set and in the other
    cosines: Tensor  # [k]

    @property
    def mean(self) -> float:
        """With absolute cosines this is the MCC, the mean correlation coefficient (Song et al. 2025, 2505.20254)."""
        return float(self.cosines.double().mean())

    def share_above(self, threshold: float) -> float:
        return float((self.cosines > threshold).double().mean())


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sets of directions, each looked for in the other."""

    forward: float  # MMCS(A → B)
    backward: float  # MMCS(B → A)
    chance_forward: float  # what random directions in place of B would give
    chance_backward: float
    matched: float  # mean cosine of the best one-to-one pairs
    chance_matched: float  # the same of random directions
    share_matched: float  # share of the pairs with a cosine above the threshold

    @property
    def forward_above_chance(self) -> float:
        return above_chance(self.forward, self.chance_forward)

    @property
    def backward_above_chance(self) -> float:
        return above_chance(self.backward, self.chance_backward)

    @property
    def matched_above_chance(self) -> float:
        return above_chance(self.matched, self.chance_matched)


def max_cosines(found: Tensor, wanted: Tensor, *, absolute: bool = False, at_once: int = AT_ONCE) -> Tensor:
    """MCS: for each row of `found` [n, d] the largest cosine with any row of `wanted` [m, d] → [n]."""
    return best_cosines(found, wanted, absolute=absolute, at_once=at_once)[0]


def best_cosines(
    found: Tensor, wanted: Tensor, *, absolute: bool = False, at_once: int = AT_ONCE
) -> tuple[Tensor, Tensor]:
    """For each row of `found` [n, d] the largest cosine [n] with a row of `wanted` [m, d], and which row [n]."""
    _check(found, wanted)
    found, wanted = normalize(found, dim=1), normalize(wanted, dim=1)
    blocks = [_signed(part @ wanted.T, absolute).max(dim=1) for part in torch.split(found, at_once)]
    return torch.cat([block.values for block in blocks]), torch.cat([block.indices for block in blocks])


def mmcs(found: Tensor, wanted: Tensor, *, absolute: bool = False) -> float:
    """MMCS(found → wanted): the mean of the max cosines."""
    return float(max_cosines(found, wanted, absolute=absolute).double().mean())


def mmcs_matrix(sets: Sequence[Tensor], *, absolute: bool = False) -> Tensor:
    """[k, k] float64: row i, column j is MMCS(i → j)."""
    return torch.tensor([[mmcs(a, b, absolute=absolute) for b in sets] for a in sets], dtype=torch.float64)


def match(found: Tensor, wanted: Tensor, *, absolute: bool = False) -> Matching:
    """The best one-to-one assignment of the rows of `found` [n, d] to those of `wanted` [m, d] (Hungarian method)."""
    _check(found, wanted)
    if max(len(found), len(wanted)) > LARGEST_ASSIGNMENT:
        raise ValueError(
            f"{len(found)} and {len(wanted)} directions are too many to assign one to one; "
            f"the limit is {LARGEST_ASSIGNMENT}. Use mmcs, which works in blocks"
        )
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise ValueError("matching directions one to one needs scipy; install it with `pip install scipy`") from None
    cosines = _signed(normalize(found, dim=1) @ normalize(wanted, dim=1).T, absolute)
    if not bool(cosines.isfinite().all()):
        raise ValueError("directions with NaN or infinity cannot be matched; leave out members that diverged")
    rows, columns = (torch.from_numpy(each) for each in linear_sum_assignment(cosines.cpu().numpy(), maximize=True))
    return Matching(pairs=torch.stack([rows, columns], dim=1), cosines=cosines.cpu()[rows, columns])


def compare(found: Tensor, wanted: Tensor, *, absolute: bool = False, threshold: float = 0.9) -> Comparison:
    d = found.shape[1]
    matching = match(found, wanted, absolute=absolute)
    return Comparison(
        forward=mmcs(found, wanted, absolute=absolute),
        backward=mmcs(wanted, found, absolute=absolute),
        chance_forward=chance_mmcs(len(wanted), d, absolute=absolute),
        chance_backward=chance_mmcs(len(found), d, absolute=absolute),
        matched=matching.mean,
        chance_matched=chance_matched(len(found), len(wanted), d, absolute=absolute),
        share_matched=matching.share_above(threshold),
    )


def above_chance(value: float, chance: float) -> float:
    """(value − chance) / (1 − chance): 0 for random directions, 1 for the same ones."""
    return (value - chance) / (1 - chance)


def chance_mmcs(n: int, d: int, *, absolute: bool = False, grid: int = 2**17) -> float:
    """E max of the cosines of one direction with n independent uniform ones in d dimensions.

    A cosine sin θ has density ∝ cos^(d−2) θ. With its distribution function F, E max = ∫ sin θ dFⁿ(θ), summed here on
    a fine grid. No simulation, and right for any n; √(2 ln n / d) is only the limit (0.31 for 0.265 at d 128, n 512).
    """
    if d < 2 or n < 1:
        raise ValueError(f"chance needs at least 1 direction in at least 2 dimensions, not {n} in {d}")
    theta = torch.linspace(0.0 if absolute else -math.pi / 2, math.pi / 2, grid, dtype=torch.float64)
    density = theta.cos().clamp(min=0) ** (d - 2)
    below = torch.cumulative_trapezoid(density, theta)
    of_max = torch.cat([below.new_zeros(1), below / below[-1]]) ** n
    middle = (theta[1:] + theta[:-1]) / 2
    return float((middle.sin() * of_max.diff()).sum())


def chance_mmcs_limit(n: int, d: int) -> float:
    """√(2 ln n / d), the leading term for many directions in many dimensions; always too large."""
    return math.sqrt(2 * math.log(n) / d)


def chance_mmcs_simulated(n_found: int, n_wanted: int, d: int, generator: torch.Generator) -> float:
    """MMCS of one draw of random directions with another."""
    return mmcs(random_directions(n_found, d, generator), random_directions(n_wanted, d, generator))


def chance_matched(n_found: int, n_wanted: int, d: int, *, absolute: bool = False, draws: int = 1) -> float:
    """What `match(...).mean` is on average for random directions; it is not the chance level of an MMCS.

    There is no closed form, so sets are drawn and matched; always the same ones. At some hundred directions one draw is
    good to 0.002.
    """
    generator = torch.Generator().manual_seed(0)
    means = []
    for _ in range(draws):
        found, wanted = (random_directions(n, d, generator) for n in (n_found, n_wanted))
        means.append(match(found, wanted, absolute=absolute).mean)
    return sum(means) / draws


def _signed(cosines: Tensor, absolute: bool) -> Tensor:
    return cosines.abs() if absolute else cosines


def _check(found: Tensor, wanted: Tensor) -> None:
    shapes = f"{list(found.shape)} and {list(wanted.shape)}"
    if found.ndim != 2 or wanted.ndim != 2 or found.shape[1] != wanted.shape[1]:
        raise ValueError(f"only directions [n, d] and [m, d] of the same width can be compared, not {shapes}")
    if len(found) == 0 or len(wanted) == 0:
        raise ValueError(f"there must be at least one direction on each side, not {shapes}")
