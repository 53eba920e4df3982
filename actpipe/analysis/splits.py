"""Three sets of documents, so that nothing is scored on the text that it was chosen on.

    profile   thresholds, quantiles, signs, which concept fits best
    explain   what an explanation is made from: rules, examples for a judge
    score     what explanations are measured on

A function of the documents' texts: copies fall into the same set, and near copies do.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from actpipe.store import Store
from actpipe.store.hashing import Words, salt, salted
from actpipe.store.splits import Documents, Text, opening

from .near_duplicates import near_duplicates

PROFILE, EXPLAIN, SCORE = 0, 1, 2
NAMES = ("profile", "explain", "score")
SHARES = (0.4, 0.2, 0.4)
_SALT = 0x73706C69  # "spli"; keeps this hash apart from those of held-out documents and of the reading order


def split_of_documents(store: Store, seed: int) -> NDArray[np.int8]:
    """[largest number + 2]: the split of each document number; what is no document (number −1) reads the last, PROFILE.

    By thresholds on the hash, so that a document stays where it is when others join the store. Where that leaves a set
    without any document, by rank of the hash: with fewer than three documents some set stays empty.
    """
    found = store.documents
    words = salted(_of_copies(store, found), salt(_SALT, seed))
    borders = np.cumsum(SHARES)[:-1]
    chosen = np.searchsorted(borders, words / 2.0**64, side="right").astype(np.int8)
    if len(np.unique(chosen)) < len(SHARES):
        distinct, place = np.unique(words, return_inverse=True)
        chosen = np.searchsorted(borders, (place + 0.5) / len(distinct), side="right").astype(np.int8)
    splits = np.full(int(found.numbers.max(initial=-1)) + 2, PROFILE, dtype=np.int8)
    splits[found.numbers] = chosen
    return splits


def _of_copies(store: Store, found: Documents) -> Words:
    """[documents]: the least hash among the documents that each is nearly a copy of, itself included, so that it does
    not depend on their order."""

    def pieces() -> Iterator[Text]:
        for slab in range(store.n_slabs):
            yield Text(*(store.text(name, *store.slab_range(slab)) for name in Text._fields))

    first = near_duplicates(pieces(), found.numbers, opened=opening(pieces()))
    least = found.hashes.copy()
    np.minimum.at(least, first, found.hashes)
    hashes: Words = least[first]
    return hashes
