"""The labels of the rows of a store: its documents are made again, and every token is found in its word."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Mismatch, Misuse

from .document import Document
from .factors import FACTORS, labels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from actpipe.store.store import Store

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class RowLabels:
    """Of the rows of some sequences, in order."""

    labels: NDArray[np.bool_]  # [rows, factors], false at rows without a word
    document: Ints  # [rows], number of the document, −1 without a word
    word: Ints  # [rows], place of the word in it; −1 for special tokens, padding and tokens of space alone

    @property
    def known(self) -> NDArray[np.bool_]:
        """[rows], whether the row has a word. Scores are taken over these, where the store's mask is true as well."""
        return self.word >= 0


def token_words(document: Document, offsets: Ints | Sequence[tuple[int, int]]) -> Ints:
    """The word of each token from where the token lies in the document's text; −1 for one that is space alone."""
    if not len(offsets):
        return np.zeros(0, np.int64)
    begin, end = np.array(offsets, np.int64).reshape(-1, 2).T
    # A token may begin with the space before its word, so its last letter is what says which word it is of.
    last = end - 1
    word = np.searchsorted(document.spans[:, 1], last, side="right")
    word = np.minimum(word, len(document.words) - 1)
    return np.where((end > begin) & (document.spans[word, 0] <= last), word, -1)


def labels_of_store(
    store: Store, tokenizer: PreTrainedTokenizerFast, *, start: int = 0, stop: int | None = None
) -> RowLabels:
    """Labels of the rows of sequences `start` to `stop` − 1 of a store of FactorLang; 152 bytes a row.

    `tokenizer` is the model's that was harvested. Raises Mismatch where its tokens are not the store's.
    """
    from actpipe.corpora.factorlang import FactorLang

    corpus = FactorLang.named(store.config["dataset"]["name"])
    if corpus.fingerprint() != store.config["dataset"]["fingerprint"]:
        raise Mismatch(f"{store.place} was harvested from another version of {corpus.name}; harvest it again.")
    stop = store.sequences if stop is None else min(stop, store.sequences)
    place = _places(store)[start * store.context : stop * store.context]
    number = np.asarray(store.doc[start:stop], np.int64).reshape(-1)
    tokens = np.asarray(store.tokens[start:stop], np.int64).reshape(-1)
    found = RowLabels(
        labels=np.zeros((len(place), len(FACTORS)), np.bool_),
        document=np.full(len(place), -1),
        word=np.full(len(place), -1),
    )
    rows = (place >= 0).nonzero()[0]
    if not len(rows):
        return found
    encode = _encoder(tokenizer)
    first = int(number[rows[0]])
    bounds = np.searchsorted(number[rows], np.arange(first, int(number[rows[-1]]) + 2))
    for i, document in enumerate(corpus.made(first, int(number[rows[-1]]) + 1)):
        _label(found, document, rows[bounds[i] : bounds[i + 1]], place, tokens, encode(document.text))
    return found


def _label(
    found: RowLabels, document: Document, rows: Ints, place: Ints, tokens: Ints, encoded: tuple[Ints, Ints]
) -> None:
    """Fill in the rows of one document; those behind its last token are the separator."""
    ids, offsets = encoded
    rows = rows[place[rows] < len(ids)]
    if not np.array_equal(tokens[rows], ids[place[rows]]):
        raise Mismatch(
            f"The tokens of document {document.number} are not those of the store; give the tokenizer of its model."
        )
    word = token_words(document, offsets)[place[rows]]
    found.word[rows] = word
    found.document[rows] = np.where(word >= 0, document.number, -1)
    found.labels[rows] = labels(document)[word] & (word >= 0)[:, None]


def _places(store: Store) -> Ints:
    """[rows of the store]: the how manyeth token of its document, separators behind the last; −1 for others."""
    packing = store.config.get("packing")
    if packing is None:
        raise Misuse(f"{store.place} does not say how its text was packed; only stores of `harvest` have labels.")
    number = np.asarray(store.doc, np.int64)
    text = number >= 0
    if packing["first"] is not None:
        text[:, 0] = False
    if packing["style"] == "documents" and packing["separator"] is not None:
        # One closes every sequence, in front of the padding.
        text[np.arange(len(text)), store.context - 1 - (number >= 0)[:, ::-1].argmax(1)] = False
    rows = text.reshape(-1).nonzero()[0]
    of = number.reshape(-1)[rows]
    begins = np.append(True, of[1:] != of[:-1]).nonzero()[0]
    places = np.full(text.size, -1)
    places[rows] = np.arange(len(rows)) - np.repeat(begins, np.diff(np.append(begins, len(rows))))
    return places


def _encoder(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], tuple[Ints, Ints]]:
    """Text → token ids [n] and where they lie [n, 2], as `actpipe.corpora` tokenises."""
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True

    def encode(text: str) -> tuple[Ints, Ints]:
        encoded = backend.encode(text, add_special_tokens=False)
        return np.array(encoded.ids, np.int64), np.array(encoded.offsets, np.int64).reshape(-1, 2)

    return encode
