"""Detection: does the explanation say of a window whether the unit fires on it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from . import estimates
from .estimates import Judged, Measure
from .judge import Judge
from .protocol import Protocol
from .questions import Detect, Explanation, Passage
from .windows import Unit, Window


@dataclass(frozen=True)
class Detection(Protocol):
    positives: int = 30  # over the deciles
    silent: int = 50  # of the shared sample
    near: int = 15

    name: ClassVar[str] = "detection"
    text: ClassVar[str] = "says of held-out windows whether the unit fires on them"
    asks: ClassVar[type] = Detect

    def measure(self, judge: Judge, unit: Unit, explanation: Explanation, *, seed: int) -> list[Measure]:
        population, near = population_of(unit, self.positives, self.silent), unit.some(lambda w: w.is_near, self.near)
        said = _asked(judge, explanation, [*population, *near], seed)
        judged = judged_windows(population, said[: len(population)])
        missed = estimates.share("fpr_near", estimates.decided(said[len(population) :]))
        found = estimates.detection(judged, seed=seed, decides=judge.decides)
        return [*found, missed] if judge.decides else found


def population_of(unit: Unit, positives: int, silent: int) -> list[Window]:
    """Windows that, with their weights, stand for all of the text."""
    return [*_per_decile(unit, positives), *unit.some(lambda w: w.is_silent, silent)]


def judged_windows(windows: Sequence[Window], said: NDArray[np.float64]) -> Judged:
    strata = {name: i for i, name in enumerate(sorted({w.stratum for w in windows}))}
    return Judged(
        said=said,
        fires=np.array([w.fires for w in windows], dtype=np.bool_),
        activation=np.array([w.largest for w in windows]),
        weight=np.array([w.weight for w in windows]),
        stratum=np.array([strata[w.stratum] for w in windows]),
    )


def _per_decile(unit: Unit, at_most: int) -> list[Window]:
    """As many of each stratum as it has, evenly fewer where there are more than wanted."""
    strata = sorted({w.stratum for w in unit.scored if w.is_positive})
    each = max(1, at_most // max(1, len(strata)))
    return [w for name in strata for w in unit.some(_positive_of(name), each)]


def _positive_of(stratum: str) -> Callable[[Window], bool]:
    return lambda w: w.stratum == stratum and w.is_positive


def _asked(judge: Judge, explanation: Explanation, windows: Sequence[Window], seed: int) -> NDArray[np.float64]:
    """In an order of chance: where a judge reads several windows at once, no place in the prompt tells anything."""
    order = np.random.default_rng(seed).permutation(len(windows))
    passages: tuple[Passage, ...] = tuple(windows[i].passage for i in order)
    answers = np.array(judge.answer(Detect(explanation, passages)).values, dtype=np.float64)
    said = np.full(len(windows), np.nan)
    said[order] = answers
    return said
