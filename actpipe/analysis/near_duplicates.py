"""Documents that are nearly the same, by MinHash (Broder 1997) of the runs of five tokens in each.

    h_j(D) = least word of family j over the 5-grams of D          P(h_j(A) = h_j(B)) = J, |A ∩ B| / |A ∪ B| of 5-grams

Two documents are joined if all six hashes of one of ten bands agree, which happens with probability 1 − (1 − J⁶)¹⁰:
0.99 at J = 0.86, 0.15 at 0.5, 2·10⁻⁴ at 0.16. What is joined to the same document is joined: an order plays no part.
One look at the tokens; 480 bytes a document are kept.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from actpipe.store.hashing import Words, salt, salted
from actpipe.store.splits import Text

_GRAM = 5  # tokens
_BANDS, _ROWS = 10, 6
_SALT = 0x6E656172  # "near"
_NONE = np.uint64(2**64 - 1)
_TEMPLATE_SHARE = 0.1  # of all documents: what so many share is a form that they were written in, and no copy
_FEW = 10  # documents are no form, however few there are


def near_duplicates(pieces: Iterable[Text], numbers: NDArray[np.int32], *, opened: bool) -> NDArray[np.int64]:
    """[documents]: of each of `numbers` (increasing) the first in it that it is joined to, itself where there is none.

    `opened`: the first token of each sequence is no text.
    """
    found = _joined(_bands(_least(pieces, numbers, opened=opened)))
    size = np.bincount(found, minlength=len(found))[found]
    forms = size > max(_FEW, _TEMPLATE_SHARE * len(numbers))
    return np.where(forms, np.arange(len(found)), found)


def _least(pieces: Iterable[Text], numbers: NDArray[np.int32], *, opened: bool) -> Words:
    """[documents, bands · rows]"""
    least = np.full((len(numbers), _BANDS * _ROWS), _NONE)
    for piece in pieces:
        is_text = piece.doc >= 0
        is_text[:, 0] &= not opened
        doc, tokens = piece.doc[is_text], piece.tokens[is_text].astype(np.uint64)
        starts = np.flatnonzero(doc[: 1 - _GRAM] == doc[_GRAM - 1 :])  # of 5-grams; document numbers rise
        if not len(starts):
            continue
        grams, of = _grams(tokens)[starts], doc[starts]
        runs = np.flatnonzero(np.diff(of, prepend=-1))
        known = np.isin(of[runs], numbers)
        place = np.searchsorted(numbers, of[runs][known])
        for family in range(least.shape[1]):
            words = np.minimum.reduceat(_family(grams, family), runs)[known]
            np.minimum.at(least[:, family], place, words)
    return least


def _grams(tokens: Words) -> Words:
    """[n − 4]: a word of each run of five."""
    n = len(tokens) - _GRAM + 1
    word = np.zeros(n, np.uint64)
    for i in range(_GRAM):
        word = salted(word ^ tokens[i : i + n], salt(_SALT, i))
    return word


def _family(grams: Words, number: int) -> Words:
    """Another order of the same words: a product with an odd number, its high half folded onto the low one."""
    product = grams * (salt(_SALT, _GRAM, number) | np.uint64(1))
    return product ^ product >> np.uint64(32)


def _bands(least: Words) -> Words:
    """[documents, bands]: a word of the hashes of each band; `_NONE` where a document has no five tokens."""
    words = np.zeros((len(least), _BANDS), np.uint64)
    for row in range(_ROWS):
        words = salted(words ^ least[:, row::_ROWS], salt(_SALT, _GRAM, _ROWS, row))
    words[(least == _NONE).all(axis=1)] = _NONE
    return words


def _joined(bands: Words) -> NDArray[np.int64]:
    """[documents]: the first of each document's component; two with an equal band are neighbours."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(bands)
    one, other = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        same = (band[order][1:] == band[order][:-1]) & (band[order][1:] != _NONE)
        one.append(order[:-1][same])
        other.append(order[1:][same])
    edges = np.concatenate(one), np.concatenate(other)
    _, label = connected_components(coo_array((np.ones(len(edges[0]), bool), edges), shape=(n, n)), directed=False)
    _, first = np.unique(label, return_index=True)
    found: NDArray[np.int64] = first[label]
    return found
