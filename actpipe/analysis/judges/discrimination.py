"""Discrimination: does the explanation tell the unit from its neighbours? Detection is blind to an explanation that
many units share ("plural nouns", arXiv 2605.12874).

Pairs of a window on which the unit fires and one that fires a neighbour and not the unit. D = (right + ½ ties) / n,
chance ½, with Wilson's interval. Where both protocols were run, the explanation is a collision if that interval covers
½ although detection's balanced accuracy is above 0.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from . import estimates
from .estimates import Measure
from .judge import Judge
from .protocol import Protocol
from .questions import Explanation, Tell
from .windows import Unit

DETECTED = 0.7


@dataclass(frozen=True)
class Discrimination(Protocol):
    pairs: int = 20

    name: ClassVar[str] = "discrimination"
    text: ClassVar[str] = "tells a window of the unit from a window of one of its neighbours"
    asks: ClassVar[type] = Tell

    def measure(self, judge: Judge, unit: Unit, explanation: Explanation, *, seed: int) -> list[Measure]:
        ours, theirs = unit.some(lambda w: w.is_positive), unit.some(lambda w: w.is_near)
        n = min(self.pairs, len(ours), len(theirs))
        # Our window stands first in half of the pairs, in no order.
        first = np.random.default_rng(seed).permutation(n) % 2 == 0
        pairs = [
            (a.passage, b.passage) if is_first else (b.passage, a.passage)
            for a, b, is_first in zip(ours[:n], theirs[:n], first, strict=True)
        ]
        said = estimates.decided(np.array(judge.answer(Tell(explanation, tuple(pairs))).values, dtype=np.float64))
        return [estimates.share("accuracy", np.where(first, said, 1 - said))]


def collision(found: dict[str, list[Measure]]) -> Measure | None:
    """1 or 0; None where one of the two protocols is missing or undefined. `found`: measures by protocol."""
    accuracy = _named(found.get("discrimination", []), "accuracy")
    detected = _named(found.get("detection", []), "balanced_accuracy")
    if accuracy is None or detected is None or np.isnan(accuracy.value) or np.isnan(detected.value):
        return None
    collides = accuracy.low <= 0.5 <= accuracy.high and detected.value > DETECTED
    return Measure(metric="collision", value=float(collides), n=accuracy.n, failed=accuracy.failed)


def _named(measures: list[Measure], metric: str) -> Measure | None:
    return next((m for m in measures if m.metric == metric), None)
