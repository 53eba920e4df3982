"""Which words a tile has, and nothing of what they mean: the control of every embedding that claims to know meaning.

Signed feature hashing (Weinberger et al. 2009): each feature of a token adds +1 or −1 at one of `dims` places, so inner
products are right on average, with an error of about 1/√dims. Features are the token itself and, where its text is
known, the character 3- to 5-grams of that text: ` knows` is near ` knew` as far as they are spelled alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.store.hashing import salt, salted

from .embedding import Embedding
from .token_table import TokenTable, token_table

GRAMS = (3, 4, 5)  # letters
_SALT = 0x6C657869  # "lexi"


@dataclass(frozen=True)
class Lexical(Embedding):
    name: ClassVar[str] = "lexical"
    text: ClassVar[str] = "which words and letters a text has, hashed; knows nothing of their meaning"
    dims: int = 256

    def open(self, corpus: Corpus) -> TokenTable:
        vectors = hashed(np.arange(corpus.vocabulary), np.arange(corpus.vocabulary), corpus.vocabulary, self.dims)
        if corpus.texts is not None:
            vectors = (vectors + self._spelled(corpus, corpus.texts)) / np.sqrt(2)
        return token_table(vectors, corpus, dims=self.dims)

    def _spelled(self, corpus: Corpus, texts: Sequence[str]) -> NDArray[np.float32]:
        """[V, dims] by the letters of each token that occurs, of length 1 on average."""
        words, owners = [], []
        for token in np.flatnonzero(corpus.token_counts[: len(texts)]).tolist():
            grams = letter_grams(texts[token])
            words += [crc32(gram.encode()) for gram in grams]
            owners += [token] * len(grams)
        owner = np.array(owners, np.int64)
        number = np.bincount(owner, minlength=corpus.vocabulary)
        # Another family of hashes than the tokens': letters must not fall on the place of one token.
        found = hashed(np.array(words, np.int64) + (1 << 32), owner, corpus.vocabulary, self.dims)
        return (found / np.sqrt(np.maximum(number, 1))[:, None]).astype(np.float32)


def letter_grams(text: str) -> list[str]:
    """3- to 5-grams of a token's text between blanks, in lower case: ` the` and `The` have the same."""
    word = f" {text.strip().lower()} "
    return [word[i : i + n] for n in GRAMS for i in range(len(word) - n + 1)]


def hashed(feature: NDArray[np.int64], owner: NDArray[np.int64], n: int, dims: int) -> NDArray[np.float32]:
    """[n, dims]: Σ over the features of each owner of ±1 at a place, both decided by the feature's hash."""
    word = salted(feature, salt(_SALT))
    place = (word >> np.uint64(1)) % np.uint64(dims)
    sign = 1.0 - 2.0 * (word & np.uint64(1)).astype(np.float64)
    sums = np.bincount(owner * dims + place.astype(np.int64), weights=sign, minlength=n * dims)
    return sums.reshape(n, dims).astype(np.float32)
