"""Contestants that take turns: each round runs all of them once in random order, and ratios are taken within a round.

A ratio of two medians would compare moments that lie minutes apart on a machine whose speed wanders; the median of the
ratios of each round does not.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

Seconds: TypeAlias = dict[str, list[float]]


class Ratio(NamedTuple):
    """Of each round, in the middle and at the ends."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"

    def against(self, goal: float | None) -> str:
        """The ratio in bold, and the goal with whether it is met."""
        if goal is None:
            return f"**{self}**"
        return f"**{self}**, goal {goal:g}: {'met' if self.median >= goal else 'missed'}"


def timed(work: Callable[[], float | None]) -> float:
    """Seconds of the work; what keeps its own clock answers its seconds itself."""
    began = time.perf_counter()
    answer = work()
    return time.perf_counter() - began if answer is None else answer


def play(
    contestants: Mapping[str, Callable[[], float | None]],
    *,
    rounds: int,
    chance: random.Random,
    before: Callable[[str], None] = lambda name: None,
    warm_up: int = 0,
) -> Seconds:
    """Seconds of each contestant in each round; `before(name)` runs ahead of each, off the clock."""
    seconds: Seconds = {name: [] for name in contestants}
    for number in range(warm_up + rounds):
        for name in chance.sample(list(contestants), len(contestants)):
            before(name)
            spent = timed(contestants[name])
            if number >= warm_up:
                seconds[name].append(spent)
    return seconds


def faster(seconds: Mapping[str, Sequence[float]], ours: str, other: str) -> Ratio:
    """How many times faster `ours` is than `other` at the same work."""
    each = [b / a for a, b in zip(seconds[ours], seconds[other], strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
