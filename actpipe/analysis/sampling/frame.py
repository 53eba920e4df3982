"""The windows that a sample is drawn from: the tiles of the documents of SCORE, and the text shown for each of them.

A tile is 32 rows of one document in one sequence (`Rows.tile`); tiles do not overlap, so every eligible row belongs to
one of them and the frame has a known size. The text shown for a tile is the 32 rows around one of its rows: its peak
where the unit fires, at three quarters, and full wherever the document is long enough.

Rows at positions below `skip_first` of their sequence are in no window and no peak: what a model does there belongs to
the place, not to the text (attention sinks). The first pass knows no norms, so a sink elsewhere is left out only where
the store's mask excludes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.rows import PEAK, WINDOW, Rows
from actpipe.analysis.splits import SCORE
from actpipe.store.hashing import Words, salt, splitmix64

SKIP_FIRST = 1

Ints = NDArray[np.int64]
State = dict[str, NDArray[Any]]  # of an accumulator


def eligible(rows: Rows, context: int, skip_first: int) -> NDArray[np.bool_]:
    """[B]: rows of SCORE that may be a peak or stand in a window."""

    def make() -> NDArray[np.bool_]:
        position = np.arange(len(rows.tokens)) % context
        good: NDArray[np.bool_] = rows.counted & (rows.split == SCORE) & (position >= skip_first)
        return good

    return rows.once(f"eligible {skip_first}", make)


def windows(rows: Rows, peaks: Ints, context: int, skip_first: int) -> tuple[Ints, Ints]:
    """First row (in the block) and length of the window around each eligible row, within the eligible rows."""
    low = np.maximum(rows.span_start[peaks], peaks // context * context + skip_first)
    high = rows.span_stop[peaks]
    start = np.maximum(low, np.minimum(peaks - PEAK, high - WINDOW))
    return start, np.minimum(high, start + WINDOW) - start


@dataclass(frozen=True)
class Extents:
    """Where each document lies, by its number, over the rows of a corpus that count (in all splits)."""

    first: Ints  # number in the store of its first row
    last: Ints
    runs: Ints  # 1 where its rows follow each other with no other document between them

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: never changed, and held by every empty accumulator that is copied."""
        return self

    def seen(self, seen: Seen, documents: Ints) -> NDArray[np.bool_]:
        """Whether all of each document was."""
        return seen.whole(self.first[documents], self.last[documents])

    def whole(self, rows: Rows, documents: Ints) -> NDArray[np.bool_]:
        """Whether all of each document is in the block, in one run."""
        inside = (self.first[documents] >= rows.first) & (self.last[documents] < rows.first + len(rows.tokens))
        found: NDArray[np.bool_] = inside & (self.runs[documents] == 1)
        return found


class Seen:
    """Which rows an accumulator has seen, as intervals [start, stop) of the store, joined where they touch."""

    def __init__(self) -> None:
        self.intervals = np.zeros((0, 2), dtype=np.int64)

    def add(self, intervals: Ints) -> None:
        every = np.concatenate([self.intervals, intervals])
        every = every[np.argsort(every[:, 0])]
        apart = every[1:, 0] > every[:-1, 1]
        self.intervals = np.stack([every[np.append(True, apart), 0], every[np.append(apart, True), 1]], axis=1)

    def whole(self, first: Ints, last: Ints) -> NDArray[np.bool_]:
        """Whether all rows from `first` to `last` were seen."""
        at = np.searchsorted(self.intervals[:, 0], first, side="right") - 1
        found: NDArray[np.bool_] = (at >= 0) & (self.intervals[at, 1] > last)
        return found


@lru_cache(maxsize=1)
def extents(corpus: Corpus) -> Extents:
    n = len(corpus.split)  # document numbers are below
    first, last, runs = np.full(n, np.iinfo(np.int64).max), np.full(n, -1), np.zeros(n, np.int64)
    before = -1
    for rows in corpus.blocks(1 << 20):
        row = np.flatnonzero(rows.counted)
        document = rows.documents[row]
        starts = np.flatnonzero(np.concatenate([[True], document[1:] != document[:-1]])[: len(document)])
        if not len(starts):
            continue
        stops = np.append(starts[1:], len(document)) - 1
        named = document[starts]
        np.minimum.at(first, named, rows.first + row[starts])
        np.maximum.at(last, named, rows.first + row[stops])
        np.add.at(runs, named, 1)
        runs[named[0]] -= named[0] == before
        before = int(document[-1])
    return Extents(first, last, runs)


@dataclass(frozen=True)
class Uniform:
    """One sample of the tiles for all units, in the order of its drawing: any beginning of it is a sample too.

    Drawn without replacement, each tile with the same probability, by hash of its document and row. The shown window is
    the tile; the last tile of a document, which may be short, is shown with what stands before it.
    """

    n_tiles: int  # of SCORE, in the whole corpus
    tile: Ints  # [n_U] first row of the tile, in the store
    document: Ints
    peak: Ints  # the row that the window is placed around
    start: Ints  # of the window, in the store
    length: Ints


@lru_cache(maxsize=1)
def uniform(corpus: Corpus, n: int, skip_first: int = SKIP_FIRST) -> Uniform:
    """A function of the corpus and its seed: the same windows for every set of units."""
    context, word = corpus.store.context, salt(0x756E6966, int(corpus.seed))  # "unif"
    best: list[tuple[Words, Ints, Ints, Ints, Ints, Ints]] = []
    n_tiles = 0
    for rows in corpus.blocks(1 << 18):
        good = np.flatnonzero(eligible(rows, context, skip_first))
        tile = rows.tile[good]
        last = np.flatnonzero(np.concatenate([tile[1:] != tile[:-1], [True]])[: len(tile)])
        tile, peak = tile[last], good[last]
        n_tiles += len(tile)
        document = rows.documents[peak]
        drawn = splitmix64(splitmix64(tile) ^ splitmix64(document.astype(np.uint64) + word))
        least = np.argsort(drawn, kind="stable")[:n]
        around = np.minimum(tile[least] - rows.first + PEAK, peak[least])
        start, length = windows(rows, around, context, skip_first)
        first = rows.first
        best.append((drawn[least], tile[least], document[least], around + first, start + first, length))
    drawn, tile, document, around, start, length = (np.concatenate(column) for column in zip(*best, strict=True))
    order = np.lexsort((tile, drawn))[:n]
    return Uniform(n_tiles, tile[order], document[order], around[order], start[order], length[order])
