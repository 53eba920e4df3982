"""The contract of an embedding: a vector of length 1 for a tile of text.

An embedding is a frozen dataclass that is its own configuration; opened on a corpus it is an Embedder. What it says of
a tile depends on the text of the corpus and never on a unit: all units of all dictionaries are measured with one rule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import RLock
from typing import ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.rows import Rows
from actpipe.errors import ActpipeError

from .tiles import Tiles, tiles_of

Vectors = NDArray[np.float64]  # [n, dims], rows of length 1, or 0 where a tile has no direction


class Embedder(ABC):
    dims: int

    def takes(self, tile: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which tiles it embeds: all, or a sample by hash where a vector costs much."""
        return np.ones(len(tile), dtype=bool)

    @abstractmethod
    def embed(self, tiles: Tiles) -> Vectors:
        """Vectors of tiles, zero where `takes` is False."""


class Embedding(ABC):
    name: ClassVar[str]
    text: ClassVar[str]  # a sentence for whoever reads the report

    @abstractmethod
    def open(self, corpus: Corpus) -> Embedder:
        """Missing where what it needs (tokenizer, weights) is not at hand."""


_OPENED: WeakKeyDictionary[Corpus, dict[Embedding, Embedder | ActpipeError]] = WeakKeyDictionary()
_ONE_AT_A_TIME = RLock()


def opened(embedding: Embedding, corpus: Corpus) -> Embedder:
    """`embedding.open(corpus)`, once for all scores and dictionaries of a corpus."""
    with _ONE_AT_A_TIME:
        known = _OPENED.setdefault(corpus, {})
        if embedding not in known:
            try:
                known[embedding] = embedding.open(corpus)
            except ActpipeError as error:  # asked again by every dictionary, and looking for a model may take seconds
                known[embedding] = error
        found = known[embedding]
    if isinstance(found, ActpipeError):
        raise found
    return found


def block_vectors(embedding: Embedding, corpus: Corpus, rows: Rows) -> Vectors:
    """Of the tiles of a block (`tiles_of(rows)`), computed once for all that ask."""
    return rows.once(f"embedding {embedding!r}", lambda: opened(embedding, corpus).embed(tiles_of(rows).tiles))


def unit_length(sums: NDArray[np.floating]) -> Vectors:
    """Rows divided by their length. A row that is zero up to the rounding of float32 sums has no direction: zero."""
    exact = sums.astype(np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", exact, exact))
    known = length > 1e-5 * length.max(initial=0.0)
    exact[~known] = 0
    exact[known] /= length[known, None]
    return exact
