"""What relabelling gives: tests for units that are exchangeable, and the place of a score among draws of its null."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .strata import Floats, Ints

PERMUTATIONS = 2000
_ENTRIES = 1 << 23  # of a block of permutations: 64 MiB


class Tested(NamedTuple):
    difference: float
    p: float  # two-sided, (1 + number as extreme) / (1 + permutations)


def permuted(first: Floats, second: Floats, *, seed: int, permutations: int = PERMUTATIONS) -> Tested:
    """mean(first) − mean(second) of independent units against random division of all of them in two."""
    everything = np.concatenate([first, second])
    n, total = len(first), float(everything.sum())
    random = np.random.default_rng(seed)
    sums = []
    for size in _sizes(permutations, len(everything)):
        ranks = np.argpartition(random.random((size, len(everything))), n - 1, axis=1)[:, :n]
        sums.append(everything[ranks].sum(axis=1))
    of_first = np.concatenate(sums)
    drawn = of_first / n - (total - of_first) / len(second)
    return _tested(float(first.mean() - second.mean()), drawn)


def sign_flipped(differences: Floats, *, seed: int, permutations: int = PERMUTATIONS) -> Tested:
    """The mean of paired differences against random signs."""
    random = np.random.default_rng(seed)
    drawn = np.concatenate(
        [
            random.choice([-1.0, 1.0], size=(size, len(differences))) @ differences / len(differences)
            for size in _sizes(permutations, len(differences))
        ]
    )
    return _tested(float(differences.mean()), drawn)


class AgainstNull(NamedTuple):
    """All [n], NaN where a unit has fewer than two draws that are defined or they do not differ."""

    mean: Floats
    z: Floats
    p: Floats  # one-sided, (1 + draws at least as large) / (1 + draws)
    draws: Ints


def against_null(values: Floats, drawn: Floats) -> AgainstNull:
    """Scores of units [n] beside those of the same units with their text shuffled, `drawn` [draws, n].

    With 20 draws p is no smaller than 1/21: use z, or pool units of like density, for more.
    """
    defined = np.isfinite(drawn)
    count = defined.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(defined, drawn, 0.0).sum(axis=0) / count
        spread = np.sqrt(np.where(defined, (drawn - mean) ** 2, 0.0).sum(axis=0) / (count - 1))
        z = np.where((count > 1) & (spread > 0), (values - mean) / np.where(spread > 0, spread, np.nan), np.nan)
        p = (1 + (drawn >= values).sum(axis=0)) / (1 + count)
    asked = (count > 1) & np.isfinite(values)
    return AgainstNull(mean, z, np.where(asked, p, np.nan), count.astype(np.int64))


def _tested(difference: float, drawn: Floats) -> Tested:
    # A hair of tolerance: the observed division is one of them, and sums in another order differ in the last bits.
    extreme = np.abs(drawn) >= abs(difference) * (1 - 1e-12)
    return Tested(difference, float((1 + extreme.sum()) / (1 + len(drawn))))


def _sizes(permutations: int, n: int) -> list[int]:
    step = max(1, _ENTRIES // max(n, 1))
    return [min(step, permutations - start) for start in range(0, permutations, step)]
