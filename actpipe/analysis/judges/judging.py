"""One unit before the judge: its explanation, every protocol, and the same with the explanation of another unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .discrimination import collision
from .estimates import Measure
from .judge import Judge
from .protocol import Protocol
from .questions import Explanation
from .windows import Unit

SHUFFLED = "shuffled_explanation"


@dataclass(frozen=True)
class Judgement:
    unit: Unit
    explanation: Explanation | None
    measures: dict[str, list[Measure]]  # by protocol
    control: dict[str, list[Measure]] = field(default_factory=dict)  # with another unit's explanation


@dataclass(frozen=True)
class Judging:
    judge: Judge
    protocols: Sequence[Protocol]
    explained: Callable[[Unit], Explanation | None]
    seed: int

    def of(self, pair: tuple[Unit, Unit | None]) -> Judgement:
        """`pair`: the unit, and the one whose explanation is the control."""
        unit, other = pair
        explanation = self.explained(unit)
        borrowed = self.explained(other) if other is not None else None
        return Judgement(unit, explanation, self._measured(unit, explanation), self._control(unit, borrowed))

    def _measured(self, unit: Unit, explanation: Explanation | None) -> dict[str, list[Measure]]:
        if explanation is None:
            return {p.name: [] for p in self.protocols} | {"explanation": [_written(False)]}
        found = {p.name: p.measure(self.judge, unit, explanation, seed=unit.seed(self.seed)) for p in self.protocols}
        collides = collision(found)
        if collides is not None:
            found["discrimination"] = [*found["discrimination"], collides]
        return found | {"explanation": [_written(True)]}

    def _control(self, unit: Unit, borrowed: Explanation | None) -> dict[str, list[Measure]]:
        """Intruder needs no explanation, so another one would change nothing."""
        if borrowed is None:
            return {}
        seed = unit.seed(self.seed)
        others = [p for p in self.protocols if p.name != "intruder"]
        return {p.name: p.measure(self.judge, unit, borrowed, seed=seed) for p in others}


def _written(success: bool) -> Measure:
    return Measure(metric="written", value=float(success), low=np.nan, high=np.nan, n=1, failed=int(not success))
