"""The text of a store as the scores need it: how often each token occurs, splits, and a token at random for each row.

One look at the tokens of the committed slabs, before any activation is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.places import Place
from actpipe.store import Store
from actpipe.store.hashing import splitmix64

from .rows import Rows, block
from .splits import NAMES, split_of_documents

_PIECE = 1 << 20  # rows looked at together
_PART = 1 << 15  # rows of a part


class Part(NamedTuple):
    """Consecutive sequences that are gathered together. A function of the store alone, whoever works on it."""

    number: int
    first: int
    stop: int


class Corpus:
    def __init__(self, store: Store, slabs: Sequence[int], seed: int, texts: tuple[str, ...] | None = None) -> None:
        """`texts`: of every token id, where the tokenizer is at hand."""
        self.store, self.seed, self.texts = store, np.uint64(seed), texts
        self.rows = store  # whose activations are read
        self._made_from = (tuple(slabs), seed, texts)
        self.ranges = [store.slab_range(slab) for slab in slabs]
        self.vocabulary = 1 + max(int(store.tokens[a:b].max()) for a, b in self.ranges)  # token ids are below
        self.split = split_of_documents(store, seed)  # of each document number
        self.split_token_counts = np.zeros((len(NAMES), self.vocabulary), dtype=np.int64)  # rows that count, by split
        documents: list[NDArray[np.int32]] = []
        for rows in self.blocks(_PIECE):
            key = rows.split[rows.counted].astype(np.int64) * self.vocabulary + rows.tokens[rows.counted]
            counts = np.bincount(key, minlength=self.split_token_counts.size)
            self.split_token_counts += counts.reshape(self.split_token_counts.shape)
            documents.append(np.unique(rows.documents[rows.counted]))
        self.token_counts: NDArray[np.int64] = self.split_token_counts.sum(axis=0)
        self.tokens = int(self.token_counts.sum())  # N
        self.documents = len(np.unique(np.concatenate(documents)))
        self.distinct_tokens = int((self.token_counts > 0).sum())  # V
        self._cumulated = np.cumsum(self.token_counts)
        self.random_token_counts = np.zeros(self.vocabulary, dtype=np.int64)
        for rows in self.blocks(_PIECE):
            drawn = self.random_tokens(rows)[rows.counted]
            self.random_token_counts += np.bincount(drawn, minlength=self.vocabulary)

    def blocks(self, n_rows: int) -> Iterator[Rows]:
        """Blocks of whole sequences, at most `n_rows` rows each where a sequence allows it, in order."""
        for first, stop in self.ranges:
            yield from self._blocks(first, stop, n_rows)

    def parts(self) -> list[Part]:
        step = max(1, _PART // self.store.context)
        starts = [(start, min(start + step, stop)) for first, stop in self.ranges for start in range(first, stop, step)]
        return [Part(number, *each) for number, each in enumerate(starts)]

    def blocks_of(self, part: Part, n_rows: int) -> Iterator[Rows]:
        yield from self._blocks(part.first, part.stop, n_rows)

    def whole(self, part: Part) -> Rows:
        (rows,) = self._blocks(part.first, part.stop, (part.stop - part.first) * self.store.context)
        return rows

    def _blocks(self, first: int, stop: int, n_rows: int) -> Iterator[Rows]:
        store, step = self.store, max(1, n_rows // self.store.context)
        for start in range(first, stop, step):
            piece = slice(start, min(start + step, stop))
            text = store.tokens[piece], store.doc[piece], store.mask[piece]
            yield block(start * store.context, *text, self.split)

    def divided(self, seed: int) -> Corpus:
        """The same text with its documents divided anew."""
        slabs, _, texts = self._made_from
        return Corpus(self.store, slabs, seed, texts)

    def reading(self, rows: Store) -> Corpus:
        """The same text with the activations of another store that holds it."""
        other = object.__new__(Corpus)
        other.__dict__.update(self.__dict__, rows=rows)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Corpus:
        """Itself: it is never changed, and an accumulator that is copied empty keeps the same text."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes what it is made from; there it is made once."""
        rows = None if self.rows is self.store else self.rows.place
        return _opened, (self.store.place, *self._made_from, rows)

    def random_tokens(self, rows: Rows) -> NDArray[np.int64]:
        """A token for each row, drawn from the corpus: a function of the seed and the row alone."""
        return rows.once("random tokens", lambda: self._random_tokens(rows))

    def _random_tokens(self, rows: Rows) -> NDArray[np.int64]:
        number = np.arange(rows.first, rows.first + len(rows.tokens), dtype=np.uint64)
        random = splitmix64(number + splitmix64(np.array([self.seed])))
        draw = random % np.uint64(self.tokens)  # bias below tokens / 2^64
        return np.searchsorted(self._cumulated, draw.astype(np.int64), side="right")


@lru_cache(maxsize=1)
def _opened(
    place: Place, slabs: tuple[int, ...], seed: int, texts: tuple[str, ...] | None, rows: Place | None
) -> Corpus:
    corpus = Corpus(Store.open(place), slabs, seed, texts)
    return corpus if rows is None else corpus.reading(Store.open(rows))
