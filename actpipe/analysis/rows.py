"""A block of whole sequences: tokens, documents, splits, and how far a context window may reach from each row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

WINDOW = 32  # tokens of a context window
PEAK = 23  # where the peak stands when the text allows it: three quarters, more past than future


@dataclass(frozen=True, kw_only=True)
class Rows:
    """B consecutive rows of the store, starting at a sequence border. All arrays are [B]."""

    first: int  # number of the first row in the store
    tokens: NDArray[np.int64]
    documents: NDArray[np.int64]
    counted: NDArray[np.bool_]  # False for padding and excluded special tokens
    span_start: NDArray[np.int64]  # the span of a row: the longest run of counted rows of one document and one
    span_stop: NDArray[np.int64]  # sequence around it, as indices into the block
    split: NDArray[np.int8]  # of the row's document: splits.PROFILE, EXPLAIN or SCORE
    _made: dict[str, Any] = field(default_factory=dict, repr=False)
    _making: Any = field(default_factory=RLock, repr=False)  # units are gathered by several threads

    @property
    def tile(self) -> NDArray[np.int64]:
        """Number in the store of the first row of each row's tile: spans are cut into tiles of WINDOW rows from their
        start. Where a score needs separate windows, these are they: no two overlap, none crosses a document."""
        return self.once("tile", self._tiles)

    def _tiles(self) -> NDArray[np.int64]:
        place = np.arange(len(self.tokens)) - self.span_start
        return self.first + self.span_start + place // WINDOW * WINDOW

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returns, made once a block however many units ask for it. `name`: the asker's own."""
        with self._making:
            if name not in self._made:
                self._made[name] = make()
        found: T = self._made[name]
        return found

    def windows(self, peaks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start (in the block) and length of the window around each peak: inside its span, full where it can be."""
        low, high = self.span_start[peaks], self.span_stop[peaks]
        start = np.maximum(low, np.minimum(peaks - PEAK, high - WINDOW))
        return start, np.minimum(high, start + WINDOW) - start


def block(
    first: int,
    tokens: NDArray[np.int32],
    documents: NDArray[np.int32],
    counted: NDArray[np.bool_],
    split: NDArray[np.int8],
) -> Rows:
    """Rows from the `[sequences, context]` arrays of a store; `split` of each document number, and of -1 last."""
    breaks = np.ones(tokens.shape, dtype=bool)
    breaks[:, 1:] = (documents[:, 1:] != documents[:, :-1]) | (counted[:, 1:] != counted[:, :-1])
    starts = np.flatnonzero(breaks)
    stops = np.append(starts[1:], tokens.size)
    lengths = stops - starts
    return Rows(
        first=first,
        tokens=tokens.reshape(-1).astype(np.int64),
        documents=documents.reshape(-1).astype(np.int64),
        counted=counted.reshape(-1),
        span_start=np.repeat(starts, lengths),
        span_stop=np.repeat(stops, lengths),
        split=split[documents.reshape(-1)],
    )
