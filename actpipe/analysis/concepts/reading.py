"""A block of rows as its concepts read it: spans, lines and sentences, what stood before, how often, how deep.

Everything looks back inside the row's span only (one document, one sequence), so labels do not depend on how the rows
are cut into blocks. `everywhere` alone looks at the whole span: for what is true of a text, not of a place in it.
All arrays are [rows].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.rows import Rows

from .spelling import Spelling

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Reading:
    def __init__(self, rows: Rows, spelling: Spelling, token: Callable[[str], Bools]) -> None:
        """`token` says of the name of a token's or word's concept where it is true, [rows]."""
        self.rows, self.spelling = rows, spelling
        self.token = token
        self.index = np.arange(len(rows.tokens))

    def occurrences(self, marks: str) -> Ints:
        """How many of these characters the token has."""
        found: Ints = self.spelling.counts(marks)[self.rows.tokens]
        return found

    def begins_with(self, *marks: str) -> Bools:
        """Whether the token begins so, spaces aside."""
        found: Bools = self.spelling.begins_with(marks)[self.rows.tokens]
        return found

    @property
    def place(self) -> Ints:
        """Rows before it in its span."""
        return self.index - self.rows.span_start

    def previous(self, truth: Bools, back: int = 1) -> Bools:
        """Whether it was true `back` rows before, in the same span."""
        moved = np.zeros_like(truth)
        moved[back:] = truth[:-back]
        return moved & (self.place >= back)

    def last(self, truth: Bools) -> Ints:
        """The row up to this one where it was true last; −1 where it never was in the span."""
        at = np.maximum.accumulate(np.where(truth, self.index, -1))
        return np.where(at >= self.rows.span_start, at, -1)

    def within(self, truth: Bools, n: int) -> Bools:
        """Whether it was true in one of the n rows before this one."""
        before = np.where(self.place > 0, np.roll(self.last(truth), 1), -1)
        return (before >= 0) & (self.index - before <= n)

    def running(self, values: NDArray[np.generic], start: Ints | None = None) -> Ints:
        """Sum of the values from `start` (the span's first row) up to and with this row."""
        total = np.concatenate([[0], np.cumsum(values)])
        begin = self.rows.span_start if start is None else start
        found: Ints = total[self.index + 1] - total[begin]
        return found

    def depth(self, opening: str, closing: str, start: Ints) -> Ints:
        """How many of the opened are open at this row, from `start` on; closing one that nobody opened does nothing."""
        balance = self.running(self.occurrences(opening) - self.occurrences(closing), start)
        # The lowest balance so far in each segment: segments are told apart by a step larger than any balance.
        step = 2 * int(np.abs(balance).max(initial=0)) + 1
        segment = np.cumsum(np.append(0, np.diff(start) != 0)) * step
        lowest = np.minimum.accumulate(balance - segment) + segment
        found: Ints = balance - np.minimum(lowest, 0)
        return found

    def odd(self, marks: str, start: Ints) -> Bools:
        """Whether an odd number of these characters has stood since `start`: between a pair of equal marks."""
        found: Bools = self.running(self.occurrences(marks), start) % 2 == 1
        return found

    @cached_property
    def line(self) -> Ints:
        """First row of the line: behind the last token with a newline."""
        return self._begins_behind(self.token("space/newline"))

    @cached_property
    def sentence(self) -> Ints:
        """First row of the sentence: behind the last full stop, question mark, exclamation mark or newline."""
        return self._begins_behind(self.token("punctuation/ends sentence") | self.token("space/newline"))

    def _begins_behind(self, ends: Bools) -> Ints:
        starts = self.previous(ends) | (self.place == 0)
        return np.maximum.accumulate(np.where(starts, self.index, 0))

    def opens_line(self, truth: Bools) -> Bools:
        """Whether the first token of this row's line that is not just space has the concept."""
        blank = self.token("space/blank")
        at = self.line
        skipped = np.minimum(at + 1, len(truth) - 1)
        at = np.where(blank[at] & (skipped <= self.index), skipped, at)
        return truth[at]

    @cached_property
    def spans(self) -> tuple[Ints, Ints]:
        """First rows of the spans, and the number of each row's span."""
        starts = np.flatnonzero(self.place == 0)
        return starts, np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(self.index))))

    def everywhere(self, values: NDArray[np.generic]) -> tuple[Ints, NDArray[np.float64]]:
        """Of the whole span of the row: the sum of the values, and their mean."""
        starts, number = self.spans
        sums = np.add.reduceat(values.astype(np.int64), starts)
        lengths = np.diff(np.append(starts, len(self.index)))
        return sums[number], (sums / lengths)[number]

    def seen(self, key: Ints, start: Ints | None = None) -> Ints:
        """How often the key stood before in the span, or since `start`."""
        begin = self.rows.span_start if start is None else start
        order = np.lexsort((key, begin))  # stable: rows stay in order among equals
        fresh = np.append(True, (np.diff(key[order]) != 0) | (np.diff(begin[order]) != 0))
        first = np.maximum.accumulate(np.where(fresh, self.index, 0))
        found = np.empty_like(self.index)
        found[order] = self.index - first
        return found

    def gram(self, n: int) -> tuple[Ints, Bools]:
        """A number for the last n tokens, and whether there are as many in the span."""
        key = self.rows.tokens.copy()
        for back in range(1, n):
            key[back:] = key[back:] * 1_000_003 + self.rows.tokens[:-back]  # wraps around: a hash of 64 bits
        return key, self.place >= n - 1
