"""The exam that certifies a judge: 40 planted units, five explanations of each, 24 decisions an explanation.

A judge is certified if it reaches a balanced accuracy of at least 0.90 with the true explanations and at most 0.55 with
those of other units, and if explanations that are too broad or too narrow both do worse than the true ones (the
missing-label and extra-label checks of NeuronEval, arXiv 2506.05774). A judge that only ranks is never certified: it
has an AUROC. An answer that failed counts as a coin's; more than one in ten and the exam is failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .estimates import auroc, decided
from .exam_text import PLANTED, Examined, examined
from .judge import Judge
from .order import in_order
from .questions import Detect, Explanation

VARIANTS = ("exact", "paraphrase", "broad", "narrow", "shuffled")
WITH_TRUTH, WITH_ANOTHER, MOST_FAILED = 0.90, 0.55, 0.10


@dataclass(frozen=True, kw_only=True)
class Grade:
    judge: str
    units: int
    exact: float  # mean balanced accuracy with the true explanations; so on
    paraphrase: float
    broad: float
    narrow: float
    shuffled: float  # with the explanation of another unit
    auroc: float  # with the true explanations
    ranked: float  # share of units on which exact beats both broad and narrow
    failed: float  # share of decisions that the judge did not give
    decides: bool = True

    @property
    def score(self) -> float:
        """Mean over units of [BA(exact) − BA(shuffled)], 0 … 0.5."""
        return self.exact - self.shuffled

    @property
    def certified(self) -> bool:
        return (
            self.decides
            and self.units == len(PLANTED)
            and self.failed <= MOST_FAILED
            and self.exact >= WITH_TRUTH
            and self.shuffled <= WITH_ANOTHER
            and max(self.broad, self.narrow) < self.exact
        )

    @property
    def sentence(self) -> str:
        verdict = "certified judge" if self.certified else "uncertified judge"
        if not self.decides:
            return f"{verdict}: {self.judge} only ranks; AUROC {self.auroc:.2f} on {self.units} planted units"
        return (
            f"{verdict}: {self.judge} reaches balanced accuracy {self.exact:.2f} with true explanations of "
            f"{self.units} planted units (asked ≥ {WITH_TRUTH:.2f}), {self.paraphrase:.2f} with paraphrases, "
            f"{self.broad:.2f} too broad, {self.narrow:.2f} too narrow, {self.shuffled:.2f} with another unit's "
            f"(asked ≤ {WITH_ANOTHER:.2f}); {self.failed:.0%} of its answers failed"
        )


def take_exam(judge: Judge, *, seed: int = 0, units: int = len(PLANTED), threads: int = 1) -> Grade:
    """Failure if the judge stops answering (budget, endpoint) before the end: there is no grade of half an exam."""
    papers = [examined(unit, seed=seed) for unit in _drawn(units, seed)]
    done = in_order(lambda paper: _marks(judge, paper), papers, threads=threads)
    if done.stopped is not None:
        raise done.stopped
    marks = np.array([m.accuracies for m in done.results])  # [units, variants]
    exact, paraphrase, broad, narrow, shuffled = (float(x) for x in marks.mean(0))
    return Grade(
        judge=judge.name,
        units=len(papers),
        exact=exact,
        paraphrase=paraphrase,
        broad=broad,
        narrow=narrow,
        shuffled=shuffled,
        auroc=float(np.mean([m.auroc for m in done.results])),
        ranked=float(((marks[:, 0] > marks[:, 2]) & (marks[:, 0] > marks[:, 3])).mean()),
        failed=float(np.mean([m.failed for m in done.results])),
        decides=judge.decides,
    )


@dataclass(frozen=True)
class _Marks:
    accuracies: tuple[float, ...]  # one a variant
    auroc: float
    failed: float


def _marks(judge: Judge, paper: Examined) -> _Marks:
    fires = np.array(paper.fires)
    said = [_said(judge, paper, explanation) for explanation in _explanations(paper)]
    filled = [np.where(np.isnan(p), 0.5, p) for p in said]
    return _Marks(
        accuracies=tuple(_balanced(fires, decided(p)) for p in filled),
        auroc=auroc(fires, filled[0]),
        failed=float(np.mean([np.isnan(p).mean() for p in said])),
    )


def _said(judge: Judge, paper: Examined, explanation: Explanation) -> NDArray[np.float64]:
    return np.array(judge.answer(Detect(explanation, paper.passages)).values, dtype=np.float64)


def _balanced(fires: NDArray[Any], said: NDArray[np.float64]) -> float:
    return float((said[fires].mean() + 1 - said[~fires].mean()) / 2)


def _explanations(paper: Examined) -> list[Explanation]:
    unit = paper.unit
    exact = unit.exact.explanation
    return [
        exact,
        Explanation(unit.paraphrase, exact.rule, "exam"),
        unit.broad.explanation,
        unit.narrow.explanation,
        _unrelated(paper),
    ]


def _unrelated(paper: Examined) -> Explanation:
    """The explanation, of a unit of another family, that says least of these passages: the one whose rule is nearest
    to a coin among those that hold of some passages and not of others."""
    fires = np.array(paper.fires)
    others = [u for u in PLANTED if u.family != paper.unit.family]
    held = [np.array([u.exact.holds(p.text) for p in paper.passages], dtype=np.float64) for u in others]
    distance = [abs(_balanced(fires, h) - 0.5) + (0 if 0 < h.sum() < len(h) else 1) for h in held]
    return others[int(np.argmin(distance))].exact.explanation


def _drawn(units: int, seed: int) -> list[Any]:
    order = np.random.default_rng(seed).permutation(len(PLANTED))[:units]
    return [PLANTED[i] for i in np.sort(order)]
