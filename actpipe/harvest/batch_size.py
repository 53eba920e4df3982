"""How many sequences to run at once: the smallest number that is about as fast as the fastest, by trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

TRIAL_S = 4.0  # for all sizes together, at most
TRIAL_SHARE = 0.05  # of the time that all the work would take
EACH_S = 0.3  # a size is repeated until it has taken this long
NEAR = 0.97  # of the fastest is fast enough: smaller batches leave memory to others
WORSE = 0.9  # a size this much slower than the fastest so far ends the search


@dataclass(frozen=True)
class Trial:
    batch_size: int
    sequences_per_second: float


def fastest(run: Callable[[int], bool], sizes: Iterable[int], *, sequences: int) -> Trial:
    """`run(size)` computes that many sequences to the end; false where they did not fit into memory.

    Sizes are tried in order while they pay, for a share of the time that `sequences` will take; the first is the answer
    where none fits.
    """
    trials: list[Trial] = []
    began, first = time.perf_counter(), 1
    for number, size in enumerate(sizes):
        first = size if number == 0 else first
        if not run(size):  # this run also warms up
            break
        left = sequences / trials[-1].sequences_per_second if trials else 0.0
        trials.append(Trial(size, _speed(run, size, min(EACH_S, TRIAL_SHARE * left))))
        best = max(trial.sequences_per_second for trial in trials)
        enough = min(TRIAL_S, TRIAL_SHARE * sequences / best)
        if trials[-1].sequences_per_second < WORSE * best or time.perf_counter() - began > enough:
            break
    if not trials:
        return Trial(first, 0.0)
    best = max(trial.sequences_per_second for trial in trials)
    return next(trial for trial in trials if trial.sequences_per_second >= NEAR * best)


def _speed(run: Callable[[int], bool], size: int, seconds: float) -> float:
    began, runs = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds or not runs:
        run(size)
        runs += 1
    return runs * size / spent
