"""Which documents are held out: a function of the document number, so training and analysis agree without talking."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .hashing import salt, salted

_SPLIT_SALT = salt(0x686F6C64)  # "hold"; keeps this hash apart from those of the reading order


def held_out_documents(documents: NDArray[Any], share: float) -> NDArray[Any]:
    """The held-out ones among distinct document numbers: those whose hash lies in the lowest `share` of the range.

    Where the hash picks none, the document with the smallest hash; so there is always something on both sides.
    """
    if not 0 < share < 1:
        raise Misuse(f"The held-out share must lie between 0 and 1, not {share}.")
    if len(documents) < 2:
        raise Misuse("A store of one document cannot hold any out; harvest at least two documents.")
    hashes = salted(documents, _SPLIT_SALT)
    picked = hashes < np.uint64(int(share * 2**64))
    if not picked.any():
        picked = hashes == hashes.min()
    if picked.all():
        picked = hashes != hashes.max()
    return documents[picked]


def held_out_rows(doc: NDArray[Any], mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """[sequences, context]: true for the rows that count and belong to held-out documents."""
    documents = held_out_documents(np.unique(doc[mask]), share)
    return np.isin(doc, documents) & mask
