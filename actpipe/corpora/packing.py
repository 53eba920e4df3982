"""Documents → sequences of exactly `context` tokens, with every document's boundaries kept.

    sequence = [first] t t t t [separator] t t t …       first: position 0, never a row that counts

Documents are laid end to end, each closed by the separator, and cut into runs of `context − 1`; every sequence opens
with one special token. Position 0 of a causal model is an attention sink whose norm is tens of times that of other rows
whatever token stands there: giving it to a token that we mask costs 1/context of the compute and keeps it out of every
statistic. `mask` is false exactly on the special tokens placed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DOCUMENTS_PER_CALL = 256  # the tokenizer works in parallel inside one call


@dataclass(frozen=True)
class PackingPolicy:
    """Which special token opens a sequence and which closes a document; recorded in the store."""

    context: int
    first: int
    separator: int


@dataclass(frozen=True)
class Packed:
    """All arrays are [sequences, context]."""

    tokens: NDArray[np.int32]
    doc: NDArray[np.int32]
    mask: NDArray[np.bool_]


def policy_for(tokenizer: PreTrainedTokenizerFast, context: int) -> PackingPolicy:
    """First = the tokenizer's BOS, separator = its EOS; where one is missing the other serves for both."""
    separator = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.bos_token_id
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else separator
    if separator is None:
        raise Misuse(
            f"The tokenizer {tokenizer.name_or_path!r} has neither a BOS nor an EOS token, so documents cannot be told "
            "apart. Set tokenizer.eos_token and save it again."
        )
    return PackingPolicy(context=context, first=int(first), separator=int(separator))


def pack(
    documents: Iterable[str], tokenizer: PreTrainedTokenizerFast, policy: PackingPolicy, *, sequences: int
) -> Iterator[Packed]:
    """Yield packed blocks until `sequences` are full or the documents end; a last incomplete sequence is left out."""
    payload = policy.context - 1
    tokens: list[NDArray[np.int32]] = []
    doc: list[NDArray[np.int32]] = []
    pending, left = 0, sequences
    for number, ids in enumerate(_tokenised(documents, tokenizer)):
        tokens.append(np.append(ids, np.int32(policy.separator)))
        doc.append(np.full(len(ids) + 1, number, np.int32))
        pending += len(ids) + 1
        full = min(pending // payload, left)
        if full == left or full * payload >= 1 << 16:
            stream, owner = np.concatenate(tokens), np.concatenate(doc)
            yield _block(stream[: full * payload], owner[: full * payload], policy)
            left -= full
            if left == 0:
                return
            tokens, doc = [stream[full * payload :]], [owner[full * payload :]]
            pending = len(tokens[0])
    if full := pending // payload:
        stream, owner = np.concatenate(tokens), np.concatenate(doc)
        yield _block(stream[: full * payload], owner[: full * payload], policy)


def _tokenised(documents: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[NDArray[np.int32]]:
    source = iter(documents)
    while texts := list(islice(source, DOCUMENTS_PER_CALL)):
        # Text that spells a special token is text: without split_special_tokens a document containing "<|endoftext|>"
        # would end itself. verbose: no warning that a document is longer than the model's context, we cut it.
        for ids in tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]:
            yield np.asarray(ids, np.int32)


def _block(stream: NDArray[np.int32], owner: NDArray[np.int32], policy: PackingPolicy) -> Packed:
    payload = policy.context - 1
    body, doc = stream.reshape(-1, payload), owner.reshape(-1, payload)
    tokens = np.concatenate([np.full((len(body), 1), policy.first, np.int32), body], axis=1)
    doc = np.concatenate([doc[:, :1], doc], axis=1)
    # Text never becomes this token (split_special_tokens), so every one of them is a boundary that we placed.
    mask = tokens != policy.separator
    mask[:, 0] = False
    return Packed(tokens=tokens, doc=doc, mask=mask)
