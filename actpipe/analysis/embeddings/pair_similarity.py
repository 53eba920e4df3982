"""How alike are the texts a unit fires on: the mean cosine of all pairs of tiles, weighted by activation, in one pass.

N tiles with vectors e of length 1 and the unit's activations a ≥ 0; b = a − min a (Pach et al. 2504.02821 scale to
[0, 1]; the maximum cancels):

    MS = Σ_{i≠j} b_i b_j ⟨e_i, e_j⟩ / Σ_{i≠j} b_i b_j = (‖V‖² − p₂) / (p₁² − p₂)     V = Σ b e,  p_k = Σ b^k
    μ₀ = Σ_{i≠j} ⟨e_i, e_j⟩ / (N² − N) = (‖s‖² − N) / (N² − N)                        s = Σ e

Sums over tiles, so parts of the text merge. If the tiles are dealt to the activations at random, MS has mean μ₀ and a
variance that is known exactly (Mantel 1967): no permutation is drawn. With A_ij = b_i b_j and B_ij = ⟨e_i, e_j⟩, i ≠ j,

    S₁ = Σ_{i≠j} A_ij     S₂ = Σ_{i≠j} A_ij²     S₃ = Σ_{i,j,k distinct} A_ij A_ik     S₄ = S₁² − 4 S₃ − 2 S₂

and likewise T₁ … T₄ of B, the variance of Σ A_ij B_π(i)π(j) over all permutations π is

    2 S₂ T₂ / N₂ + 4 S₃ T₃ / N₃ + S₄ T₄ / N₄ − (S₁ μ₀)²                              N_k = N (N−1) … (N−k+1)

Of A these are polynomials of p₁ … p₄, of B of s and M = Σ e eᵀ. Tiles of one document count as exchangeable with all
others: a unit that fires through one long document is coherent by this measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.analysis.firings import Firings

from .embedding import Vectors
from .tiles import Peaks, peaks_of

Column = NDArray[np.float64]
_UNITS = 4096  # units multiplied together: 8 MB of activations at 256 tiles
# Share of active cells from which the dense product is faster: it does 30 times as many multiplications a second.
_DENSE = 0.03


@dataclass(frozen=True)
class PairSimilarity:
    """All [n_units]; NaN where fewer than two tiles have b > 0."""

    similarity: Column  # MS
    chance: float  # μ₀
    z: Column  # (MS − μ₀) / standard deviation over permutations


class VectorSums(NamedTuple):
    """Of the tiles of a block, whatever fires in them."""

    known: NDArray[np.bool_]  # [tiles] whether the vector is not 0
    total: Column  # [dims] Σ e
    moment: Column  # [dims, dims] Σ e eᵀ

    @classmethod
    def of(cls, vectors: Vectors) -> VectorSums:
        return cls(np.asarray(vectors.any(axis=1)), vectors.sum(axis=0), _product(vectors.T, vectors))


class Moments(NamedTuple):
    """Of one block, by unit."""

    powers: Column  # [4, n_units]
    active: NDArray[np.int64]
    least: Column


def _moments(peaks: Peaks, n_units: int) -> Moments:
    active = np.bincount(peaks.unit, minlength=n_units)
    found = Moments(np.zeros((4, n_units)), active, np.full(n_units, np.inf))
    alive = np.flatnonzero(active)
    if len(alive):
        starts = (np.cumsum(active) - active)[alive]
        found.least[alive] = np.minimum.reduceat(peaks.value, starts)
        power = peaks.value.copy()
        for sums in found.powers:
            sums[alive] = np.add.reduceat(power, starts)
            power *= peaks.value
    return found


def _product(left: Column, right: Column) -> Column:
    """By torch, which keeps to the number of threads it was given: units of several dictionaries are summed at once."""
    product: Column = (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()
    return product


class PairSums:
    """p₁ … p₄, V and the smallest activation of each unit; N, s and M of the tiles. 8 (dims + 6) bytes a unit."""

    def __init__(self, n_units: int, dims: int) -> None:
        self.tiles = 0  # N
        self.sum, self.moment = np.zeros(dims), np.zeros((dims, dims))  # s, M
        self.weighted = np.zeros((n_units, dims))  # Σ a e
        self.powers = np.zeros((4, n_units))  # Σ a^k
        self.active = np.zeros(n_units, np.int64)  # tiles with a > 0
        self.least = np.full(n_units, np.inf)  # of these tiles' activations

    def update(self, batch: Firings, vectors: Vectors, sums: VectorSums | None = None) -> None:
        """`vectors` [tiles of the block, dims]; a tile with the vector 0 is none of the N. `sums` of them, if known."""
        known, total, moment = sums or VectorSums.of(vectors)
        self.tiles += int(known.sum())
        self.sum += total
        self.moment += moment
        peaks = peaks_of(batch)
        if known.all():  # then the moments of all embeddings are the same
            moments = batch.once("moments of peaks", lambda: _moments(peaks, batch.n_units))
        else:
            seen = known[peaks.item]
            peaks = Peaks(peaks.unit[seen], peaks.item[seen], peaks.value[seen])
            moments = _moments(peaks, batch.n_units)
        self.powers += moments.powers
        self.active += moments.active
        np.minimum(self.least, moments.least, out=self.least)
        self._add_weighted(peaks, vectors)

    def _add_weighted(self, peaks: Peaks, vectors: Vectors) -> None:
        """Aᵀ E by blocks of units, dense or sparse, whichever is less work."""
        from scipy.sparse import csr_array

        n, tiles = len(self.active), len(vectors)
        starts = np.searchsorted(peaks.unit, np.arange(n + 1))
        for first in range(0, n, _UNITS):
            stop = min(first + _UNITS, n)
            here = slice(starts[first], starts[stop])
            borders = starts[first : stop + 1] - starts[first]
            by_unit = csr_array((peaks.value[here], peaks.item[here], borders), shape=(stop - first, tiles))
            dense = by_unit.nnz > _DENSE * tiles * (stop - first)
            self.weighted[first:stop] += _product(by_unit.toarray(), vectors) if dense else by_unit @ vectors

    def merge(self, other: Self) -> None:
        self.tiles += other.tiles
        for name in ("sum", "moment", "weighted", "powers", "active"):
            getattr(self, name).__iadd__(getattr(other, name))
        np.minimum(self.least, other.least, out=self.least)

    def state(self) -> dict[str, NDArray[Any]]:
        names = ("sum", "moment", "weighted", "powers", "active", "least")
        return {"tiles": np.array([self.tiles]), **{name: getattr(self, name) for name in names}}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        self.tiles = int(state["tiles"][0])
        for name in ("sum", "moment", "weighted", "powers", "active", "least"):
            setattr(self, name, np.array(state[name]))

    def finish(self) -> PairSimilarity:
        n = self.tiles
        p, weighted = self._from_the_least()
        pairs = p[0] ** 2 - p[1]  # S₁
        # b is zero, or at one tile only, up to the rounding of float64 sums.
        defined = (self.active >= 2) & (p[1] > 1e-10 * self.powers[1]) & (pairs > 1e-10 * p[0] ** 2)
        square = np.einsum("ud,ud->u", weighted, weighted)
        chance = float(self.sum @ self.sum - n) / (n * n - n) if n > 1 else np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            similarity = np.where(defined, (square - p[1]) / pairs, np.nan)
            error = np.sqrt(self._variance(p, pairs, chance)) / pairs
            # Where all tiles weigh alike every permutation gives the same, and rounding decides.
            z = np.where(error > 1e-9, (similarity - chance) / error, np.nan)
        return PairSimilarity(similarity, chance, z)

    def _from_the_least(self) -> tuple[Column, Column]:
        """Power sums of b and Σ b e. The least activation is 0 unless the unit fires in every tile."""
        n, (p1, p2, p3, p4) = self.tiles, self.powers
        m = np.where((self.active == n) & (n > 0), self.least, 0.0)
        moved = (
            p1 - n * m,
            p2 - 2 * m * p1 + n * m**2,
            p3 - 3 * m * p2 + 3 * m**2 * p1 - n * m**3,
            p4 - 4 * m * p3 + 6 * m**2 * p2 - 4 * m**3 * p1 + n * m**4,
        )
        return np.stack(moved), self.weighted - m[:, None] * self.sum

    def _variance(self, p: Column, pairs: Column, chance: float) -> Column:
        """Of Σ_{i≠j} A_ij B_π(i)π(j) over all permutations; never below 0, which rounding may reach."""
        n = float(self.tiles)
        p1, p2, p3, p4 = p
        s2 = p2**2 - p4
        s3 = p1**2 * p2 - 2 * p1 * p3 + 2 * p4 - p2**2
        s4 = pairs**2 - 4 * s3 - 2 * s2
        norm = self.sum @ self.sum
        t1 = norm - n
        t2 = (self.moment**2).sum() - n
        t3 = self.sum @ self.moment @ self.sum - 2 * norm + n - t2
        t4 = t1**2 - 4 * t3 - 2 * t2
        falling = np.cumprod(n - np.arange(4))  # N₁ … N₄; with fewer tiles than indices the sums are zero too
        n2, n3, n4 = np.where(falling[1:] > 0, falling[1:], np.inf)
        variance = 2 * s2 * t2 / n2 + 4 * s3 * t3 / n3 + s4 * t4 / n4 - (pairs * chance) ** 2
        clipped: Column = np.maximum(variance, 0.0)
        return clipped
