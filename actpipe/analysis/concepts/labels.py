"""The labels of a corpus: made once a row, whoever asks for which block, and kept while they are not too many.

Kept labels take a bit a row and concept: 51 MB for a million rows and 402 concepts.
"""

from __future__ import annotations

from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.rows import Rows, block

from . import CONCEPTS
from .bank import Bank
from .concept import Bools
from .factors import factor_concepts

_KEPT = 1 << 29  # bytes: ten million rows
_TOGETHER = 1 << 15  # rows labelled together: many small blocks would cost more


class Labels:
    def __init__(self, corpus: Corpus, bank: Bank) -> None:
        self.bank = bank
        self._store, self._split = corpus.store, corpus.split  # not the corpus, by whose life these are kept
        self._sequences = max(1, _TOGETHER // corpus.store.context)  # of a piece
        width = -(-len(bank.concepts) // 8)
        keeps = corpus.store.rows * width <= _KEPT
        self._packed = np.zeros((corpus.store.rows if keeps else 0, width), np.uint8)
        self._done = np.zeros(-(-corpus.store.sequences // self._sequences), np.bool_)  # by piece
        self._lock = Lock()

    def of(self, rows: Rows) -> Bools:
        """[rows, concepts], false at rows that do not count."""
        return rows.once("concepts", lambda: self._found(rows))

    def by_row(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """The same as lists: those of row t are the second, from the t-th of the first to the next."""
        return rows.once("concepts by row", lambda: _by_row(self.of(rows)))

    def true_rows(self, rows: Rows, split: int) -> NDArray[np.int64]:
        """[concepts], rows of a split where each is true."""
        return rows.once(f"concepts of {split}", lambda: self.of(rows)[rows.split == split].sum(axis=0))

    def _found(self, rows: Rows) -> Bools:
        stop = rows.first + len(rows.tokens)
        if stop > len(self._packed):
            return self.bank.labels(rows)
        size = self._sequences * self._store.context
        for piece in range(rows.first // size, -(-stop // size)):
            with self._lock:
                if not self._done[piece]:
                    self._make(piece)
        packed = self._packed[rows.first : stop]
        return np.unpackbits(packed, axis=1, count=len(self.bank.concepts)).view(np.bool_)

    def _make(self, piece: int) -> None:
        store, first = self._store, piece * self._sequences
        these = slice(first, min(first + self._sequences, store.sequences))
        rows = block(first * store.context, store.tokens[these], store.doc[these], store.mask[these], self._split)
        self._packed[rows.first : rows.first + len(rows.tokens)] = np.packbits(self.bank.labels(rows), axis=1)
        self._done[piece] = True


def _by_row(labels: Bools) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    row, concept = np.divmod(np.flatnonzero(labels), labels.shape[1])
    return np.searchsorted(row, np.arange(len(labels) + 1)), concept.astype(np.int16)


_LABELS: WeakKeyDictionary[Corpus, Labels] = WeakKeyDictionary()
_MAKING = Lock()


def labels_of(corpus: Corpus) -> Labels | None:
    """Made once a corpus; None where the texts of its tokens are not known."""
    if corpus.texts is None:
        return None
    with _MAKING:
        if corpus not in _LABELS:
            # A model may have more tokens than its tokenizer can spell.
            texts = [*corpus.texts, *[""] * (corpus.vocabulary - len(corpus.texts))]
            _LABELS[corpus] = Labels(corpus, Bank(texts, (*CONCEPTS, *factor_concepts(corpus.store))))
        return _LABELS[corpus]
