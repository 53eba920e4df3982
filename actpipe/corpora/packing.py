"""Documents → sequences of exactly `context` tokens, with every document's boundaries kept.

    stream      [first] t t t t [separator] t t t …       documents end to end; every sequence is full
    documents   [first] t t t t [separator] pad pad       one document a sequence, a longer one continued in the next

Both may do without `first` and without `separator`: `doc` knows the boundaries anyway. `doc` is −1 exactly at padding.
`mask` says which rows count: not padding, not the special tokens placed here, and not the first `sink_positions` of a
sequence. Position 0 of a causal model is an attention sink whose norm is tens of times that of other rows whatever
token stands there: giving it to a token that we mask costs 1/context of the compute and keeps it out of all statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .tokenising import END, Run, tokenised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BLOCK_TOKENS = 1 << 16  # packed together, so that memory does not depend on the text

Style = Literal["stream", "documents"]


@dataclass(frozen=True)
class PackingPolicy:
    """Where special tokens stand and which rows count; recorded in the store."""

    context: int
    first: int | None  # opens every sequence
    separator: int | None  # stream: closes every document; documents: closes every sequence
    style: Style = "stream"
    pad: int = 0  # fills a sequence of style documents
    sink_positions: int = 1  # leading positions of every sequence whose rows never count
    texts: Mapping[int, str] = field(default_factory=dict, compare=False)  # of the tokens above, for people

    def __post_init__(self) -> None:
        if self.style not in ("stream", "documents"):
            raise Misuse(f"The packing {self.style!r} is not known; use stream or documents.")
        if self.room < 1:
            raise Misuse(
                f"A context of {self.context} leaves no room for text beside its special tokens; "
                f"use {self.context + 1 - self.room} or more."
            )
        if not 0 <= self.sink_positions < self.room + self.opening:
            raise Misuse(
                f"With --sink-positions {self.sink_positions} no row of a context of {self.context} would count; "
                f"give 0 to {self.room + self.opening - 1}."
            )

    @property
    def opening(self) -> int:
        """Special tokens before the text of a sequence."""
        return int(self.first is not None)

    @property
    def closing(self) -> int:
        """Special tokens that every sequence keeps room for behind its text."""
        return int(self.separator is not None and self.style == "documents")

    @property
    def room(self) -> int:
        """Tokens of text a sequence takes, separators of a stream included."""
        return self.context - self.opening - self.closing

    def describe(self) -> dict[str, Any]:
        """What a store records: numbers and texts of the special tokens, and in words what was done."""
        stream = self.style == "stream"
        closed = f"each {'document' if stream else 'sequence'} closed by the separator"
        opened = "every sequence opened by the first token"
        layout = "documents end to end" if stream else "one document a sequence, a longer one continued in the next"
        masked = {
            "the first token": self.first is not None,
            "separators": self.separator is not None,
            "padding (doc = -1)": not stream,
            f"the first {self.sink_positions} positions of every sequence": self.sink_positions > self.opening,
        }
        return {
            "style": self.style,
            "context": self.context,
            "first": self._token(self.first),
            "separator": self._token(self.separator),
            "pad": None if stream else self._token(self.pad),
            "sink_positions": self.sink_positions,
            "layout": ", ".join(
                [layout, *[closed] * (self.separator is not None), *[opened] * (self.first is not None)]
            ),
            "masked": ", ".join(what for what, applies in masked.items() if applies) or "nothing",
        }

    def _token(self, token: int | None) -> dict[str, Any] | None:
        return None if token is None else {"id": token, "text": self.texts.get(token, "")}


@dataclass(frozen=True)
class Packed:
    """All arrays are [sequences, context]."""

    tokens: NDArray[np.int32]
    doc: NDArray[np.int32]
    mask: NDArray[np.bool_]


def policy_for(
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    *,
    style: Style = "stream",
    first: str = "auto",
    separator: str = "auto",
    sink_positions: int = 1,
    opening: int | None = None,
) -> PackingPolicy:
    """`first` and `separator` are auto, none or the text of one token; auto takes what the tokenizer has.

    `opening` is the token that starts the decoder of an encoder–decoder model; auto prefers it to the tokenizer's.
    """
    begin, end = (tokenizer.bos_token_id, tokenizer.cls_token_id), (tokenizer.eos_token_id, tokenizer.sep_token_id)
    found = {"first": _first_known(opening, *begin, *end), "separator": _first_known(*end, *begin)}
    asked = {"first": first, "separator": separator}
    missing = [f"--{role} none" for role, text in asked.items() if text == "auto" and found[role] is None]
    if missing:
        raise Misuse(
            f"The tokenizer {tokenizer.name_or_path!r} has no special token that opens or closes a text (BOS, EOS, "
            f"[CLS], [SEP]). Give {' '.join(missing)}, or the text of one token."
        )
    chosen = {role: found[role] if text == "auto" else _token(tokenizer, text, role) for role, text in asked.items()}
    pad = _first_known(tokenizer.pad_token_id, chosen["separator"], chosen["first"], 0)
    assert pad is not None
    return PackingPolicy(
        context=context,
        first=chosen["first"],
        separator=chosen["separator"],
        style=style,
        pad=pad,
        sink_positions=sink_positions,
        texts={token: str(tokenizer.decode([token])) for token in (*chosen.values(), pad) if token is not None},
    )


def _first_known(*tokens: int | None) -> int | None:
    return next((int(token) for token in tokens if token is not None), None)  # 0 is a token like any other


def _token(tokenizer: PreTrainedTokenizerFast, text: str, role: str) -> int | None:
    """The number of the one token that `text` is: as the vocabulary spells it, else as the tokenizer reads it."""
    if text == "none":
        return None
    known = tokenizer.backend_tokenizer.token_to_id(text)
    if known is not None:
        return int(known)
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise Misuse(
            f"--{role} {text!r} is not one token of the tokenizer {tokenizer.name_or_path!r} but "
            f"{tokenizer.convert_ids_to_tokens(ids)}. Give the text of one token, none or auto."
        )
    return int(ids[0])


def pack(
    documents: Iterable[str], tokenizer: PreTrainedTokenizerFast, policy: PackingPolicy, *, sequences: int
) -> Iterator[Packed]:
    """Yield packed blocks until `sequences` are full or the documents end; a stream's last piece is left out.

    A document's number is its place among `documents`; one without tokens takes no room. Misuse where none has any.
    """
    lay = _stream if policy.style == "stream" else _one_a_sequence
    rest = Run(np.zeros(0, np.int32), np.zeros(0, np.int32))
    left, has_text = sequences, False
    for run in tokenised(documents, tokenizer):
        has_text = has_text or len(run.ids) > 0
        lines, rest = lay(Run(*(np.concatenate(pair) for pair in zip(rest, run, strict=True))), policy)
        for block in _blocks(lines, policy, left):
            yield block
            left -= len(block.tokens)
        if left == 0:
            return
    if not has_text:
        raise Misuse(
            "The dataset holds no text: no document of it has a token. Give another --dataset or --text-field."
        )


class _Lines(NamedTuple):
    """Sequences before they are padded: sequence i is the next `counts[i]` of `run`."""

    run: Run
    counts: NDArray[np.int64]  # [sequences]


def _stream(run: Run, policy: PackingPolicy) -> tuple[_Lines, Run]:
    """Full sequences, and what is left for the next call."""
    if policy.separator is None:
        run = Run(*(values[run.ids != END] for values in run))
    full = len(run.ids) // policy.room
    stop = full * policy.room
    return _Lines(_part(run, 0, stop), np.full(full, policy.room)), _part(run, stop, len(run.ids))


def _one_a_sequence(run: Run, policy: PackingPolicy) -> tuple[_Lines, Run]:
    """All sequences of the documents that have ended, the full ones of the document at hand, and its rest."""
    ends = np.flatnonzero(run.ids == END)
    at_hand = ends[-1] + 1 if len(ends) else 0  # where the document at hand begins
    stop = at_hand + (len(run.ids) - at_hand) // policy.room * policy.room
    lengths = np.append(np.diff(ends, prepend=-1) - 1, stop - at_hand)
    sequences = -(-lengths // policy.room)
    counts = np.full(sequences.sum(), policy.room)
    last = np.cumsum(sequences)[sequences > 0] - 1
    counts[last] = (lengths - (sequences - 1) * policy.room)[sequences > 0]
    text = _part(run, 0, stop)
    text = Run(*(values[text.ids != END] for values in text))
    if policy.closing:
        behind = np.cumsum(counts)
        text = Run(np.insert(text.ids, behind, END), np.insert(text.doc, behind, text.doc[behind - 1]))
        counts += 1
    return _Lines(text, counts), _part(run, stop, len(run.ids))


def _part(run: Run, start: int, stop: int) -> Run:
    return Run(*(values[start:stop] for values in run))


def _blocks(lines: _Lines, policy: PackingPolicy, sequences: int) -> Iterator[Packed]:
    """The first `sequences` lines, a block at a time."""
    step = max(1, BLOCK_TOKENS // policy.context)
    start = 0
    for begin in range(0, min(len(lines.counts), sequences), step):
        counts = lines.counts[begin : min(begin + step, sequences)]
        stop = start + int(counts.sum())
        yield _block(_Lines(_part(lines.run, start, stop), counts), policy)
        start = stop


def _block(lines: _Lines, policy: PackingPolicy) -> Packed:
    (ids, owner), counts = lines
    starts = np.cumsum(counts) - counts
    row = np.repeat(np.arange(len(counts)), counts)
    at = row, policy.opening + np.arange(len(ids)) - np.repeat(starts, counts)
    shape = len(counts), policy.context
    tokens, doc, mask = np.full(shape, policy.pad, np.int32), np.full(shape, -1, np.int32), np.zeros(shape, np.bool_)
    placed = ids == END
    tokens[at] = np.where(placed, policy.separator or 0, ids)
    doc[at] = owner
    mask[at] = ~placed
    if policy.first is not None:
        tokens[:, 0] = policy.first
        doc[:, 0] = doc[:, 1]
    mask[:, : policy.sink_positions] = False
    return Packed(tokens=tokens, doc=doc, mask=mask)
