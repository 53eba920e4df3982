"""The judge `rules`: executes the explanation. No noise, no cost; what it cannot execute it fails to answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from actpipe.errors import Misuse

from .judge import Judge
from .machine_rules import Execution, execute
from .questions import Answer, Detect, Explanation, Mark, Passage, Question, Simulate, Tell


@dataclass(frozen=True)
class RuleJudge(Judge):
    name: str = "rules"
    answers: frozenset[type] = frozenset({Detect, Mark, Tell, Simulate})

    def answer(self, question: Question) -> Answer:
        match question:
            case Detect(explanation, passages):
                return _answer(tuple(_fires(explanation, p) for p in passages))
            case Mark(explanation, passages):
                return _answer(tuple(_marking(explanation, p) for p in passages))
            case Tell(explanation, pairs):
                return _answer(tuple(_first(_mass(explanation, a), _mass(explanation, b)) for a, b in pairs))
            case Simulate(explanation, passage):
                return _answer(tuple(_executed(explanation, passage).activation.tolist()))
            case _:
                raise Misuse(f"The judge {self.name} cannot be asked to {type(question).__name__}.")


def _answer(values: tuple[float, ...]) -> Answer:
    return Answer(values, failed=sum(math.isnan(v) for v in values))


def _executed(explanation: Explanation, passage: Passage) -> Execution:
    """NaN where there is no rule."""
    if explanation.rule is None:
        return Execution(np.full(len(passage.tokens), np.nan), np.zeros(len(passage.tokens), np.bool_))
    return execute(explanation.rule, passage)


def _fires(explanation: Explanation, passage: Passage) -> float:
    found = _executed(explanation, passage)
    return math.nan if np.isnan(found.activation).any() else float(found.fires.any())


def _mass(explanation: Explanation, passage: Passage) -> float:
    return float(_executed(explanation, passage).activation.sum())


def _first(first: float, second: float) -> float:
    if math.isnan(first + second):
        return math.nan
    return 0.5 if first == second else float(first > second)


def _marking(explanation: Explanation, passage: Passage) -> float:
    """Share of the marked tokens on which the rule fires."""
    found = _executed(explanation, passage)
    if np.isnan(found.activation).any() or not passage.marks:
        return math.nan
    return float(found.fires[list(passage.marks)].mean())
