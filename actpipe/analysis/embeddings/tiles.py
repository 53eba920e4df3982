"""The tiles of 32 tokens that carry meaning: what is embedded, and how strongly each unit fires in each.

A tile is where a unit's activation and an embedding meet: both are one value (or vector) a tile, the activation is the
unit's largest. Tiles never overlap and never cross a document (rows.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.firings import Firings
from actpipe.analysis.rows import WINDOW, Rows

SHORTEST = 8  # tokens; what is left at the end of a document is noise as an embedding below this. Heuristic, not tuned.


@dataclass(frozen=True)
class Tiles:
    tile: NDArray[np.int64]  # [n], number in the store of the first row; ascending
    tokens: NDArray[np.int64]  # [n, WINDOW], anything beyond the length
    length: NDArray[np.int64]  # [n]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """[n, WINDOW]: positions inside the tiles."""
        return np.arange(WINDOW) < self.length[:, None]


class BlockTiles(NamedTuple):
    tiles: Tiles
    of_row: NDArray[np.int64]  # [B], index of each row's tile; −1 on rows that do not count and in tiles too short


def tiles_of(rows: Rows) -> BlockTiles:
    """The tiles of a block, found once however many scores ask."""
    return rows.once("embedded tiles", lambda: _tiles_of(rows))


def _tiles_of(rows: Rows) -> BlockTiles:
    counted = np.flatnonzero(rows.counted)
    tile, place, length = np.unique(rows.tile[counted], return_inverse=True, return_counts=True)
    long_enough = length >= SHORTEST
    of_row = np.full(len(rows.tokens), -1)
    of_row[counted] = np.where(long_enough, np.cumsum(long_enough) - 1, -1)[place]
    tile, length = tile[long_enough], length[long_enough]
    position = np.minimum(tile[:, None] - rows.first + np.arange(WINDOW), len(rows.tokens) - 1)
    return BlockTiles(Tiles(tile, rows.tokens[position], length), of_row)


def tiles_at(corpus: Corpus, tile: NDArray[np.int64]) -> Tiles:
    """Tiles by their numbers, read again from the store; numbers as `tiles_of` gives them."""
    store = corpus.store
    sequence, start = np.divmod(tile, store.context)
    position = np.minimum(start[:, None] + np.arange(WINDOW), store.context - 1)
    document = store.doc[sequence[:, None], position]
    inside = (document == document[:, :1]) & store.mask[sequence[:, None], position]
    inside &= start[:, None] + np.arange(WINDOW) < store.context
    length = np.logical_and.accumulate(inside, axis=1).sum(axis=1)
    return Tiles(tile, store.tokens[sequence[:, None], position].astype(np.int64), length)


class Peaks(NamedTuple):
    """The largest activation of each unit in each tile where it fires; ordered by unit, then tile."""

    unit: NDArray[np.int64]
    item: NDArray[np.int64]  # index into the block's tiles
    value: NDArray[np.float64]


def peaks_of(batch: Firings) -> Peaks:
    """Of a block; found once. Costs as much as there are firings."""
    return batch.once("peaks of tiles", lambda: _peaks_of(batch))


def _peaks_of(batch: Firings) -> Peaks:
    return Peaks(*_peaks(*batch.by_unit, tiles_of(batch.rows).of_row))


@compiled
def _peaks(starts: Any, row: Any, value: Any, tile_of_row: Any) -> Any:
    unit, item, peak = np.empty(len(row), np.int64), np.empty(len(row), np.int64), np.empty(len(row), np.float64)
    m = 0
    for u in range(len(starts) - 1):
        last = -1  # tile of this unit
        for i in range(starts[u], starts[u + 1]):
            tile = tile_of_row[row[i]]
            if tile < 0:
                continue
            if tile != last:
                unit[m], item[m], peak[m] = u, tile, value[i]
                last = tile
                m += 1
            elif value[i] > peak[m - 1]:
                peak[m - 1] = value[i]
    return unit[:m].copy(), item[:m].copy(), peak[:m].copy()
