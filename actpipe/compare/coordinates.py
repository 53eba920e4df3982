"""Where the levels of an arm lie: loss and log₂ L0_eff, with replicates over documents and seeds.

Arms that were made here have the loss of the system in nats and L0_eff. Of reports that were made before, only the rise
of the loss by the dictionary and L0 are recorded, which can be held against each other on one store alone.

Shapes: B replicates, D documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from actpipe.analysis.statistics.resampling import Units, ratio, slots
from actpipe.analysis.statistics.strata import Floats

from .arm import Level, System
from .systems import ALL, Sums

_LEAST_L0 = 1e-9  # where nothing fires the logarithm is finite
_DOCUMENTS = 3  # stream of random numbers; resampling.py has 0 to 2


class Coordinates(NamedTuple):
    """Of one level at one place. Replicates [B]; without sums they are the value."""

    loss: float
    l0: float
    losses: Floats
    l0s: Floats
    scale: str  # what may be compared: `system`, or the store on which rises are

    @property
    def log_l0(self) -> float:
        return float(np.log2(max(self.l0, _LEAST_L0)))

    @property
    def log_l0s(self) -> Floats:
        found: Floats = np.log2(np.maximum(self.l0s, _LEAST_L0))
        return found


def coordinates(level: Level, place: str, *, seed: int, replicates: int) -> Coordinates | None:
    """None where loss or L0 is not recorded."""
    systems = [each for each in level.systems if place == ALL or place in each.units]
    if systems and all(each.sums is not None for each in systems):
        return _measured(systems, place, seed, replicates)
    return _recorded(systems, place, replicates)


def _measured(systems: Sequence[System], place: str, seed: int, replicates: int) -> Coordinates:
    drawn, value = [], []
    for system in systems:
        sums = system.sums or {}
        both = [sums[place, quantity] for quantity in ("ce", "l0_eff")]
        value.append([each.total.sum() / each.rows.sum() for each in both])
        drawn.append(np.stack([_over_documents(each, seed=seed, replicates=replicates) for each in both], axis=1))
    chosen = slots(_groups(systems), seed=seed, replicates=replicates)
    stacked = np.stack(drawn)  # [systems, B, 2]
    rows = np.arange(replicates)[:, None]
    found = (stacked[np.maximum(chosen.chosen, 0), rows] * chosen.weight[..., None]).sum(axis=1)
    loss, l0 = np.mean(value, axis=0).tolist()
    return Coordinates(loss, l0, found[:, 0], found[:, 1], "system")


def _over_documents(sums: Sums, *, seed: int, replicates: int) -> Floats:
    """[B]. Equal numbers of documents draw equal documents: arms on one text are paired."""
    n = len(sums.total)
    weights = np.random.default_rng([seed, _DOCUMENTS]).multinomial(n, np.full(n, 1 / n), size=replicates)
    found: Floats = (weights @ sums.total) / np.maximum(weights @ sums.rows, 1e-12)
    return found


def _groups(systems: Sequence[System]) -> list[Units]:
    nothing = np.zeros((1, 2))
    return [
        Units(model=each.model, dictionary=each.dictionary, sums=nothing, strata=np.zeros(1, np.int64), statistic=ratio)
        for each in systems
    ]


def _recorded(systems: Sequence[System], place: str, replicates: int) -> Coordinates | None:
    rows = [row for each in systems for layer, row in each.rows.items() if place in (ALL, layer)]
    stores = {each.summary["store"]["fingerprint"] for each in systems}
    known = [(row["delta_ce"], row["analysed_l0"]) for row in rows if row.get("delta_ce") is not None]
    several = any(len(each.rows) > 1 for each in systems) and place == ALL  # no splice of all layers is recorded
    if not rows or several or len(stores) > 1 or len(known) < len(rows):
        return None
    loss, l0 = np.mean(np.array(known, np.float64), axis=0).tolist()
    return Coordinates(loss, l0, np.full(replicates, loss), np.full(replicates, l0), stores.pop())


def of_one_scale(found: Sequence[Coordinates | None]) -> bool:
    """Whether all are there, and may be held against each other."""
    return bool(found) and all(each is not None for each in found) and len({each.scale for each in found if each}) == 1
