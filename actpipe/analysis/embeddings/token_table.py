"""Embedders that know a tile by its tokens alone: one vector a token, summed over the tile.

    e = Σ_t w(x_t) (v(x_t) − μ), divided by its length        w(x) = ln(1 + N / n_x),  μ = Σ n_x w_x v_x / Σ n_x w_x

n_x: occurrences of token x in the corpus, N: of all tokens. The weight keeps frequent tokens from deciding; without μ
all tiles point the same way, which says nothing about any of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus

from .embedding import Embedder, Vectors, unit_length
from .tiles import Tiles


class TokenTable(Embedder):
    def __init__(self, table: NDArray[np.float32]) -> None:
        self.table = table  # [V, dims], w(x) (v(x) − μ)
        self.dims = table.shape[1]

    def embed(self, tiles: Tiles) -> Vectors:
        from scipy.sparse import csr_array

        tokens = tiles.tokens[tiles.valid]
        starts = np.concatenate([[0], np.cumsum(tiles.length)])
        bags = csr_array((np.ones(len(tokens), np.float32), tokens, starts), shape=(len(tiles.tile), len(self.table)))
        return unit_length(bags @ self.table)


def token_table(vectors: NDArray[np.float32], corpus: Corpus, *, dims: int, without: int = 0) -> TokenTable:
    """From v [≥ V, d]. Wider vectors are reduced to the `dims` directions in which the tokens of the corpus vary most,
    after the first `without`: what a score of pairs costs is proportional to the width."""
    vectors, count = vectors[: corpus.vocabulary], corpus.token_counts
    weight = np.log1p(corpus.tokens / np.maximum(count, 1)) * (count > 0)
    share = count * weight / max((count * weight).sum(), 1e-300)
    table = weight[:, None] * (vectors - share @ vectors)
    if without or table.shape[1] > dims:
        table = table @ _leading_directions(table, count)[:, without : without + dims]
    return TokenTable(table.astype(np.float32))


def _leading_directions(table: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """[d, d], orthonormal columns: the principal directions of the tokens as often as they occur, the first first."""
    seen = table[count > 0]
    _, directions = np.linalg.eigh((seen * count[count > 0, None]).T @ seen)  # eigenvalues ascend
    return np.asarray(directions[:, ::-1])
