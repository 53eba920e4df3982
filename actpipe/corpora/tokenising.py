"""Documents → runs of token ids, in bounded memory however long a document is.

Tokenising takes about a hundred bytes a character while it runs, so texts go to the tokenizer a million characters at
a time, and a longer document goes in pieces. It is cut where the tokens of the text around the cut come out the same
whole and cut, so the pieces' tokens are the document's; where there is no such place nearby (a run of thousands of
equal letters), at the limit, and one word is tokenised as two. Either way the cut depends on the document alone.

Text that spells a special token is text: otherwise a document that contains "<|endoftext|>" would end itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END = -1  # stands behind the last token of every document that has one; no token has this id
CHARACTERS_PER_CALL = 1 << 20
LONGEST_PIECE = 1 << 18  # characters; several pieces a call, because the tokenizer works in parallel inside one
DOCUMENTS_PER_CALL = 256
_SEAM_SEARCH = 256  # places tried for a cut
_SEAM_CONTEXT = 64  # characters on either side that must not notice it

_Encode = Callable[[list[str]], list[list[int]]]


class Run(NamedTuple):
    """Consecutive tokens of consecutive documents; a document may begin in one run and end in a later one."""

    ids: NDArray[np.int32]  # [n], END behind each document
    doc: NDArray[np.int32]  # [n], number of the document


class _Piece(NamedTuple):
    text: str
    doc: int
    last: bool  # of its document


def tokenised(documents: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[Run]:
    """A document without tokens leaves nothing but its number."""
    encode = _encoder(tokenizer)
    begun = False  # whether the document at hand has a token so far
    for pieces in _calls(_pieces(documents, encode)):
        ids: list[int] = []
        lengths = []
        for piece, own in zip(pieces, encode([piece.text for piece in pieces]), strict=True):
            begun = begun or bool(own)
            before = len(ids)
            ids += own
            if piece.last and begun:
                ids.append(END)
            lengths.append(len(ids) - before)
            begun = begun and not piece.last
        doc = np.repeat(np.array([piece.doc for piece in pieces], np.int32), lengths)
        yield Run(np.array(ids, np.int32), doc)


def _encoder(tokenizer: PreTrainedTokenizerFast) -> _Encode:
    """As `tokenizer(texts, add_special_tokens=False, split_special_tokens=True)`, without what else that prepares."""
    # A copy: some tokenizers are saved with truncation and padding on, and the original belongs to the caller.
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return lambda texts: [each.ids for each in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _calls(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    call: list[_Piece] = []
    characters = 0
    for piece in pieces:
        call.append(piece)
        characters += len(piece.text)
        if len(call) == DOCUMENTS_PER_CALL or characters >= CHARACTERS_PER_CALL:
            yield call
            call, characters = [], 0
    if call:
        yield call


def _pieces(documents: Iterable[str], encode: _Encode) -> Iterator[_Piece]:
    for number, text in enumerate(documents):
        start = 0
        while len(text) - start > LONGEST_PIECE:
            stop, following = _seam(text, start + LONGEST_PIECE, encode)
            yield _Piece(text[start:stop], number, last=False)
            start = following
        yield _Piece(text[start:], number, last=True)


def _seam(text: str, limit: int, encode: _Encode) -> tuple[int, int]:
    """Where one piece stops and where the next starts: the same place, or past a space that the tokenizer implies."""
    for at in range(limit, limit - _SEAM_SEARCH, -1):
        left, right = text[at - _SEAM_CONTEXT : at], text[at : at + _SEAM_CONTEXT]
        whole, before, after, past = encode([left + right, left, right, right[1:]])
        if before + after == whole:
            return at, at
        if right[0].isspace() and before + past == whole:  # Llama 2 puts a space before every text it is given
            return at, at + 1
    return limit, limit
