"""Fuzzing: are the marked tokens those on which the unit fires? Half the windows are marked where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from . import estimates
from .estimates import Measure
from .judge import Judge
from .protocol import Protocol
from .questions import Explanation, Mark, Passage
from .windows import Unit, Window, marked


@dataclass(frozen=True)
class Fuzzing(Protocol):
    """Unreliable in every condition of arXiv 2607.19386: for comparison with published numbers."""

    windows: int = 20

    name: ClassVar[str] = "fuzzing"
    text: ClassVar[str] = "says whether the marked tokens of a window are those on which the unit fires"
    asks: ClassVar[type] = Mark

    def measure(self, judge: Judge, unit: Unit, explanation: Explanation, *, seed: int) -> list[Measure]:
        draw = np.random.default_rng(seed)
        chosen = [w for w in unit.some(lambda w: w.is_positive) if _can_be_wrong(w)][: self.windows]
        right = draw.permutation(len(chosen)) < len(chosen) // 2
        passages = tuple(_marked(w, truly, draw) for w, truly in zip(chosen, right, strict=True))
        said = np.array(judge.answer(Mark(explanation, passages)).values, dtype=np.float64)
        agrees = np.where(right, estimates.decided(said), 1 - estimates.decided(said))
        kept = ~np.isnan(said)
        area = estimates.auroc(right[kept], said[kept]) if kept.any() else np.nan
        ranked = Measure(metric="auroc", value=area, n=len(said), failed=int((~kept).sum()))
        return [estimates.share("accuracy", agrees), ranked]


def _can_be_wrong(window: Window) -> bool:
    fires = int((window.activations > 0).sum())
    return 2 * fires <= len(window.activations)


def _marked(window: Window, truly: bool, draw: np.random.Generator) -> Passage:
    """As many marks either way, so that their number says nothing."""
    fires = np.flatnonzero(window.activations > 0)
    if truly:
        return marked(window, fires.tolist())
    silent = np.flatnonzero(window.activations <= 0)
    return marked(window, draw.choice(silent, size=len(fires), replace=False).tolist())
