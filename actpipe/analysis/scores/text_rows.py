"""Rows of a corpus that are looked at all together, with what stands before each: 30 bytes a row, no activations."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.ngrams import preceding
from actpipe.store.hashing import salt, salted

from .thinned_firings import row_levels

MOST_ROWS = 1 << 21
_BLOCK = 1 << 18
_FOLD_SALT = 0x666F6C64  # "fold"


class Text(NamedTuple):
    row: NDArray[np.int64]  # [R] number in the store, increasing
    tokens: NDArray[np.int32]  # [R, 5] x_t, x_{t−1}, …; −1 beyond a border
    level: NDArray[np.int8]  # [R] of the row's sequence (thinned_firings)
    fold: NDArray[np.int8]  # [R] 0 or 1, by document; by sequence where there is one document

    def from_level(self, floor: int) -> Text:
        here = self.level >= floor
        return Text(self.row[here], self.tokens[here], self.level[here], self.fold[here])


_MADE: WeakKeyDictionary[Corpus, dict[tuple[int | None, int], Text]] = WeakKeyDictionary()
_MAKING = Lock()


def lowest_level(corpus: Corpus, split: int | None) -> int:
    """Levels below are left out for every unit, so that about MOST_ROWS rows are left at most."""
    counts = corpus.token_counts if split is None else corpus.split_token_counts[split]
    return max(0, int(np.ceil(np.log2(max(counts.sum(), 1) / MOST_ROWS))))


def text_of(corpus: Corpus, split: int | None, seed: int) -> Text:
    """Counted rows of a split, None for all; read once a corpus whoever asks."""
    with _MAKING:
        made = _MADE.setdefault(corpus, {})
        if (split, seed) not in made:
            made[split, seed] = _read(corpus, split, seed)
        return made[split, seed]


def _read(corpus: Corpus, split: int | None, seed: int) -> Text:
    lowest = lowest_level(corpus, split)
    found = [(np.zeros(0, np.int64), np.zeros((0, 5), np.int32), np.zeros(0, np.int8), np.zeros(0, np.int64))]
    for rows in corpus.blocks(_BLOCK):
        level = row_levels(rows, corpus.store.context, seed)
        chosen = rows.counted & (level >= lowest)
        if split is not None:
            chosen &= rows.split == split
        where = np.flatnonzero(chosen)
        found.append((where + rows.first, preceding(rows)[where], level[where], rows.documents[where]))
    row, tokens, level, document = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return Text(row, tokens, level, _fold(document, row // corpus.store.context, seed))


def _fold(document: NDArray[np.int64], sequence: NDArray[np.int64], seed: int) -> NDArray[np.int8]:
    """Half of the documents each, as far as their number allows."""
    numbers, place = np.unique(document, return_inverse=True)
    if len(numbers) < 2:
        numbers, place = np.unique(sequence, return_inverse=True)
    rank = np.argsort(np.argsort(salted(numbers, salt(_FOLD_SALT, seed)), kind="stable"))
    return (rank[place] % 2).astype(np.int8)
