"""Intruder: no explanation at all. Of five windows, four fire the unit equally strongly; which one does not belong?

A judge that sees what they share can name it. Chance is 0.2. The intruder is a window of a neighbour with as many
tokens marked, at random, as the others have: numbers of marks give nothing away, frequencies of the marked tokens may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from . import estimates
from .estimates import Measure
from .judge import Judge
from .protocol import Protocol
from .questions import Answer, Explanation, Spot
from .windows import Unit, Window, marked

ALIKE = 4  # windows of the unit in a trial


@dataclass(frozen=True)
class Intruder(Protocol):
    trials: int = 10

    name: ClassVar[str] = "intruder"
    text: ClassVar[str] = "spots the one window of five on which the unit is silent"
    asks: ClassVar[type] = Spot

    def measure(self, judge: Judge, unit: Unit, explanation: Explanation, *, seed: int) -> list[Measure]:
        draw = np.random.default_rng(seed)
        ours = sorted((w for w in unit.scored if w.is_positive), key=lambda w: w.largest)
        theirs = unit.some(lambda w: w.is_near, self.trials)
        if len(ours) < ALIKE:
            return [estimates.share("accuracy", np.zeros(0))]
        return [estimates.share("accuracy", np.array([_trial(judge, ours, w, draw) for w in theirs]))]


def _trial(judge: Judge, ours: list[Window], intruder: Window, draw: np.random.Generator) -> float:
    start = int(draw.integers(len(ours) - ALIKE + 1))
    alike = ours[start : start + ALIKE]  # neighbours in strength
    fires = [np.flatnonzero(w.activations > 0) for w in alike]
    marks = min(round(float(np.mean([len(f) for f in fires]))), len(intruder.activations))
    wrong = draw.choice(len(intruder.activations), size=max(1, marks), replace=False)
    shown = [*(marked(w, f.tolist()) for w, f in zip(alike, fires, strict=True)), marked(intruder, wrong.tolist())]
    order = draw.permutation(ALIKE + 1)
    return _is_right(judge.answer(Spot(tuple(shown[i] for i in order))), int(np.flatnonzero(order == ALIKE)[0]))


def _is_right(answer: Answer, place: int) -> float:
    """Ties for the first place share it."""
    said = np.array(answer.values, dtype=np.float64)
    if np.isnan(said).any() or not len(said):
        return np.nan
    best = np.flatnonzero(said == said.max())
    return float(place in best) / len(best)
