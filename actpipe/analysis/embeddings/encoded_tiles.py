"""Tiles by a sentence encoder: knows order and context, and costs minutes, so only a sample of the tiles has vectors.

MiniLM reads some 150 tiles a second on two cores: 20,000 tiles are two minutes, once for all dictionaries that one
process scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.errors import Missing
from actpipe.store.hashing import salt, salted

from .embedding import Embedder, Embedding, Vectors
from .encoder import MINILM, Encoder, open_encoder
from .tiles import Tiles, tiles_of

_SALT = 0x656E636F  # "enco"
_ROWS = 1 << 18  # looked at together


@dataclass(frozen=True)
class EncodedTiles(Embedding):
    name: ClassVar[str] = "encoder"
    text: ClassVar[str] = "a sentence encoder on this machine, for a sample of the texts"
    model: str = MINILM  # a folder, a Hugging Face name, or minilm
    tiles: int = 20_000  # at most
    device: str = "cpu"

    def open(self, corpus: Corpus) -> Embedder:
        if corpus.texts is None:
            raise Missing(
                f"An encoder reads text, and the tokenizer that {corpus.store.place} was made with is not at hand."
            )
        return _Encoded(open_encoder(self.model, self.device), corpus.texts, _drawn(corpus, self.tiles))


def _drawn(corpus: Corpus, number: int) -> NDArray[np.int64]:
    """The tiles of least hash, ascending: a function of the corpus and its seed."""
    tile = np.concatenate([tiles_of(rows).tiles.tile for rows in corpus.blocks(_ROWS)])
    words = salted(tile, salt(_SALT, int(corpus.seed)))
    return np.sort(tile[np.argsort(words, kind="stable")[:number]])


class _Encoded(Embedder):
    """Remembers what it has encoded: 30 MB at 20,000 tiles of 384 dimensions."""

    def __init__(self, encoder: Encoder, texts: Sequence[str], tiles: NDArray[np.int64]) -> None:
        self.encoder, self.texts, self.tiles, self.dims = encoder, texts, tiles, encoder.dims
        self.vectors = np.zeros((len(tiles), encoder.dims), np.float32)
        self.known = np.zeros(len(tiles), dtype=bool)

    def takes(self, tile: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(tile, self.tiles)

    def embed(self, tiles: Tiles) -> Vectors:
        taken = np.flatnonzero(self.takes(tiles.tile))
        place = np.searchsorted(self.tiles, tiles.tile[taken])
        new = ~self.known[place]
        if new.any():
            texts = [self._text(tiles, i) for i in taken[new].tolist()]
            self.vectors[place[new]] = self.encoder.embed(texts)
            self.known[place[new]] = True
        found = np.zeros((len(tiles.tile), self.dims))
        found[taken] = self.vectors[place]
        # Length 1 in float64 too: the pair sums subtract each tile's own square.
        found[taken] /= np.linalg.norm(found[taken], axis=1, keepdims=True)
        return found

    def _text(self, tiles: Tiles, i: int) -> str:
        tokens = tiles.tokens[i, : tiles.length[i]].tolist()
        return "".join(self.texts[token] for token in tokens).strip()
