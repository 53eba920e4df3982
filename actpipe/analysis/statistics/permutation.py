"""The place of a unit's score among draws of its null: scores of units of like density whose text was shuffled.

A unit of one shuffled copy has one draw of its own. Copies of other units that fire as often are further draws: density
is what a null depends on most.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .strata import Floats, Ints

NEAREST = 100  # draws a unit, so that p can be as small as 1/101


class AgainstNull(NamedTuple):
    """All [n], NaN where a unit has fewer than two draws that are defined or they do not differ."""

    mean: Floats
    z: Floats
    p: Floats  # one-sided, (1 + draws at least as large) / (1 + draws)
    draws: Ints


def against_null(values: Floats, drawn: Floats) -> AgainstNull:
    """Scores of units [n], larger ones better, beside `drawn` [draws, n]."""
    defined = np.isfinite(drawn)
    count = defined.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(defined, drawn, 0.0).sum(axis=0) / count
        spread = np.sqrt(np.where(defined, (drawn - mean) ** 2, 0.0).sum(axis=0) / (count - 1))
        z = np.where((count > 1) & (spread > 0), (values - mean) / np.where(spread > 0, spread, np.nan), np.nan)
        p = (1 + (drawn >= values).sum(axis=0)) / (1 + count)
    asked = (count > 1) & np.isfinite(values)
    return AgainstNull(mean, z, np.where(asked, p, np.nan), count.astype(np.int64))


def nearest_in_density(density: Floats, of_null: Floats) -> Ints:
    """[draws, n]: for each unit the numbers of the `NEAREST` units of the null (all, if fewer) that fire about as
    often: as many that fire more rarely as more often, where there are. The null's units all fire."""
    order = np.argsort(of_null, kind="stable")
    draws = min(NEAREST, len(order))
    place = np.searchsorted(of_null[order], density) - draws // 2
    first = np.clip(place, 0, len(order) - draws)
    found: Ints = order[first[None, :] + np.arange(draws)[:, None]]
    return found
