"""What an explainer is shown: windows of all strengths with the peak marked, look-alikes on which the unit is silent,
tokens that it makes likelier.

Windows of the top alone lose about 15 % of the signal above chance, 40 windows are hardly better than 20 (arXiv
2410.13928, 2501.08319).
"""

from __future__ import annotations

from dataclasses import dataclass

from .judge import Judge
from .questions import Explain, Explanation
from .windows import Unit, Window, marked


@dataclass(frozen=True)
class Explaining:
    per_decile: int = 2
    top: int = 3
    negatives: int = 8

    def explain(self, judge: Judge, unit: Unit) -> Explanation | None:
        """None where the judge gave nothing of the right form."""
        return judge.answer(self.question(unit)).explanation

    def question(self, unit: Unit) -> Explain:
        positives = [*self._top(unit), *self._deciles(unit)]
        negatives = [w for w in unit.shown if w.is_near][: self.negatives]
        negatives += [w for w in unit.shown if w.is_silent][: self.negatives - len(negatives)]
        return Explain(
            positives=tuple(marked(w, [w.peak]) for w in positives),
            negatives=tuple(w.passage for w in negatives),
            logit_tokens=unit.logit_tokens,
        )

    def _top(self, unit: Unit) -> list[Window]:
        found = [w for w in unit.shown if w.stratum == "top"]
        return sorted(found, key=lambda w: -w.largest)[: self.top]

    def _deciles(self, unit: Unit) -> list[Window]:
        """Strongest first."""
        strata = sorted({w.stratum for w in unit.shown if w.is_positive}, reverse=True)
        seen = {w.row for w in self._top(unit)}
        groups = [[w for w in unit.shown if w.stratum == name and w.row not in seen] for name in strata]
        return [w for group in groups for w in group[: self.per_decile]]
