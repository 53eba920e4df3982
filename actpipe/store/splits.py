"""Which documents are held out: a function of their texts, so training and analysis agree without talking.

Documents with the same text fall on the same side: a dictionary is never measured on a text that it was trained on
under another number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .hashing import Words, salt, salted

_SPLIT_SALT = salt(0x686F6C64)  # "hold"; keeps this hash apart from those of the reading order
_TEXT_SALT = salt(0x74657874)  # "text"


class Documents(NamedTuple):
    """Those that have rows that count."""

    numbers: NDArray[np.int32]
    hashes: Words
    """Of the tokens of each, from its first to the last that is in the store."""


class Text(NamedTuple):
    """Some sequences of a store, each [sequences, context]."""

    tokens: NDArray[np.int32]
    doc: NDArray[np.int32]
    mask: NDArray[np.bool_]


def opening(pieces: Iterable[Text]) -> bool:
    """Whether all sequences begin with the same token: it was placed there, and is no part of a document's text."""
    found: set[int] = set()
    for piece in pieces:
        found.update(np.unique(piece.tokens[piece.doc[:, 0] >= 0, 0]).tolist())
        if len(found) > 1:
            return False
    return True


def documents(pieces: Iterable[Text], *, opened: bool) -> Documents:
    """Hashes of all documents, from consecutive pieces of the text.

    hash = Σ word(token i, i) modulo 2^64, so a document may go on in the next piece. The mask plays no part: which rows
    it leaves out depends on where in a sequence a document begins.
    """
    numbers, hashes, counted = [np.zeros(0, np.int32)], [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
    last, length = -1, 0
    for piece in pieces:
        counted.append(np.unique(piece.doc[piece.mask]))
        is_text = piece.doc >= 0
        is_text[:, 0] &= not opened
        doc, tokens = piece.doc[is_text], piece.tokens[is_text]
        if not len(doc):
            continue
        starts = np.concatenate([[0], np.flatnonzero(np.diff(doc)) + 1])
        lengths = np.diff([*starts, len(doc)])
        before = np.where(np.arange(len(starts)) == 0, length if doc[0] == last else 0, 0)
        places = np.arange(len(doc)) - np.repeat(starts - before, lengths)
        words = salted(tokens.astype(np.uint64) << np.uint64(32) | places.astype(np.uint64), _TEXT_SALT)
        numbers.append(doc[starts])
        hashes.append(np.add.reduceat(words, starts))
        last, length = int(doc[-1]), int(lengths[-1] + before[-1])
    return _only(np.unique(np.concatenate(counted)), np.concatenate(numbers), np.concatenate(hashes))


def _only(counted: NDArray[np.int32], numbers: NDArray[np.int32], hashes: Words) -> Documents:
    """The sums of the parts of each document; 0 for one whose every token opens a sequence."""
    sums = np.zeros(len(counted), np.uint64)
    here = np.isin(numbers, counted)
    np.add.at(sums, np.searchsorted(counted, numbers[here]), hashes[here])
    return Documents(counted, sums)


def held_out_documents(found: Documents, share: float) -> NDArray[np.int32]:
    """The numbers of the held-out ones: those whose hash lies in the lowest `share` of the range.

    Where the hash picks none, the document with the smallest hash; so there is always something on both sides.
    """
    if not 0 < share < 1:
        raise Misuse(f"The held-out share must lie between 0 and 1, not {share}.")
    if len(found.numbers) < 2:
        raise Misuse("A store of one document cannot hold any out; harvest at least two documents.")
    hashes = salted(found.hashes, _SPLIT_SALT)
    if hashes.min() == hashes.max():
        raise Misuse("All documents of the store have the same text, so none can be held out; harvest other documents.")
    picked = hashes < np.uint64(int(share * 2**64))
    if not picked.any():
        picked = hashes == hashes.min()
    if picked.all():
        picked = hashes != hashes.max()
    return found.numbers[picked]
