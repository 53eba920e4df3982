"""Simulation (Bills et al. 2023): how well does the explanation predict activations, token by token?

Score: Pearson correlation over all tokens of all windows at once. One rule for windows gives one number each; they are
different quantities, so they have different names:

    pearson_top_random   5 windows of the largest peaks and 5 silent or firing ones of the text at large: OpenAI's
                         top-and-random. A correlation under this choice of windows fails NeuronEval's checks.
    pearson_random       5 of the text at large: random-only. It falls with the density of a unit at equal quality, and
                         is undefined where none of them fires.
    pearson_activating   5 windows drawn among all on which the unit fires: what Cunningham et al. (2023) call random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from . import estimates
from .estimates import Measure
from .judge import Judge
from .protocol import Protocol
from .questions import Explanation, Simulate
from .windows import Unit, Window


@dataclass(frozen=True)
class Simulation(Protocol):
    """Dear: about forty times the cost of detection. For parity with published numbers, on few units."""

    windows: int = 5  # of each kind

    name: ClassVar[str] = "simulation"
    text: ClassVar[str] = "predicts the activation of each token"
    asks: ClassVar[type] = Simulate

    def measure(self, judge: Judge, unit: Unit, explanation: Explanation, *, seed: int) -> list[Measure]:
        top = unit.some(lambda w: w.stratum == "top", self.windows)
        at_large = self._at_large(unit, seed)
        activating = self._drawn([w for w in unit.scored if w.is_positive], seed)
        chosen = {
            "pearson_top_random": [*top, *at_large] if top else [],
            "pearson_random": at_large,
            "pearson_activating": activating,
        }
        said = {w.row: _said(judge, explanation, w) for windows in chosen.values() for w in windows}
        return [_correlation(metric, windows, said, seed) for metric, windows in chosen.items()]

    def _at_large(self, unit: Unit, seed: int) -> list[Window]:
        """Each window of the text alike: ω says how many a positive or a silent one stands for."""
        return self._drawn([w for w in unit.scored if w.is_positive or w.is_silent], seed + 1)

    def _drawn(self, windows: Sequence[Window], seed: int) -> list[Window]:
        weights = np.array([w.weight for w in windows])
        if len(windows) < self.windows:
            return []
        draw = np.random.default_rng(seed)
        picked = draw.choice(len(windows), self.windows, replace=False, p=weights / weights.sum())
        return [windows[i] for i in picked]


def _said(judge: Judge, explanation: Explanation, window: Window) -> NDArray[np.float64]:
    return np.array(judge.answer(Simulate(explanation, window.passage)).values, dtype=np.float64)


def _correlation(metric: str, windows: list[Window], said: dict[int, NDArray[np.float64]], seed: int) -> Measure:
    truth = [w.activations.astype(np.float64) for w in windows]
    return estimates.concatenated_pearson(metric, truth, [said[w.row] for w in windows], seed=seed)
