"""Protocols that only order windows: surprisal and the cosine of embeddings. AUROC of firing against silent windows.

Both are weak evidence: surprisal needs likelihoods alone, so a base model of 135 M parameters can give it; embeddings
fail on units that follow a token rather than a meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from . import estimates
from .detection import judged_windows, population_of
from .estimates import Measure
from .judge import Judge
from .protocol import Protocol
from .questions import Compare, Explanation, Surprise
from .windows import Unit


@dataclass(frozen=True)
class Surprisal(Protocol):
    positives: int = 20
    silent: int = 20

    name: ClassVar[str] = "surprisal"
    text: ClassVar[str] = "finds windows likelier once it knows the explanation"
    asks: ClassVar[type] = Surprise

    def measure(self, judge: Judge, unit: Unit, explanation: Explanation, *, seed: int) -> list[Measure]:
        return _ranked(self, judge, unit, explanation, seed)


@dataclass(frozen=True)
class Embedding(Protocol):
    positives: int = 30
    silent: int = 50

    name: ClassVar[str] = "embedding"
    text: ClassVar[str] = "finds the explanation similar to the windows on which the unit fires"
    asks: ClassVar[type] = Compare

    def measure(self, judge: Judge, unit: Unit, explanation: Explanation, *, seed: int) -> list[Measure]:
        return _ranked(self, judge, unit, explanation, seed)


def _ranked(of: Surprisal | Embedding, judge: Judge, unit: Unit, explanation: Explanation, seed: int) -> list[Measure]:
    windows = population_of(unit, of.positives, of.silent)
    answer = judge.answer(of.asks(explanation, tuple(w.passage for w in windows)))
    said = np.array(answer.values, dtype=np.float64)
    return estimates.detection(judged_windows(windows, said), seed=seed, decides=False)
