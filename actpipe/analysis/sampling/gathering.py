"""The first pass: of every unit, which windows stand for it."""

from __future__ import annotations

from typing import Self

import numpy as np

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.firings import Firings
from actpipe.analysis.stability.code_sample import CodeSample
from actpipe.store.hashing import salt

from .fired import NONE, Fired, by_unit, drawn_by, fired, united
from .frame import Seen, State, eligible, extents
from .reservoir import Reservoir
from .top import Top

_PARTS = ("reservoir", "top", "together")
_WINDOW, _DOCUMENT = 0x77696E64, 0x646F6375  # "wind", "docu": one draw must not know of the other
_WORK = 1 << 26  # of the sample that says which units fire together: 20,000 rows at 50 firings each, 12 MB
_OPEN = 1 << 17  # parts of documents before they are united


class Sampling:
    def __init__(self, n_units: int, corpus: Corpus, *, seed: int, skip_first: int, top: int) -> None:
        self.corpus, self.skip_first = corpus, skip_first
        self.extents = extents(corpus)
        self.window_word, self.document_word = salt(_WINDOW, seed), salt(_DOCUMENT, seed)
        self.windows = np.zeros(n_units, dtype=np.int64)  # of closed documents, in which a unit fires
        self.documents = np.zeros(n_units, dtype=np.int64)
        self.reservoir, self.top = Reservoir(n_units), Top(n_units, top)
        self.together = CodeSample(n_units, seed=seed, work=_WORK)
        # Documents that reach over the end of a block are open until all their rows are seen.
        self._open, self._united, self._seen = [NONE], 0, Seen()

    def update(self, batch: Firings) -> None:
        self.together.update(batch)
        self._seen.add(np.array([[batch.rows.first, batch.rows.first + len(batch.rows.tokens)]]))
        good = eligible(batch.rows, self.corpus.store.context, self.skip_first)
        found = fired(
            batch.rows, batch.once(f"by unit {self.skip_first}", lambda: by_unit(batch, good)), self.window_word
        )
        whole = self.extents.whole(batch.rows, found.document)
        self._close(found.take(whole))
        self._push(found.take(~whole))

    def merge(self, other: Self) -> None:
        self.windows += other.windows
        self.documents += other.documents
        self.reservoir.merge(other.reservoir)
        self.top.merge(other.top)
        self.together.merge(other.together)
        self._seen.add(other._seen.intervals)
        for found in other._open:
            self._push(found)

    def closed(self) -> Self:
        """With no open documents: after the last row."""
        self._close(united(self._open))
        self._open, self._united = [NONE], 0
        return self

    def state(self) -> State:
        parts = {name: getattr(self, name).state() for name in _PARTS} | {"open": united(self._open)._asdict()}
        nested = {f"{name}.{key}": values for name, part in parts.items() for key, values in part.items()}
        return {**nested, "windows": self.windows, "documents": self.documents, "seen": self._seen.intervals}

    def restore(self, state: State) -> None:
        def part(name: str) -> State:
            return {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")}

        self.windows, self.documents = state["windows"], state["documents"]
        for name in _PARTS:
            getattr(self, name).restore(part(name))
        self._seen.add(state["seen"])
        self._push(Fired(**part("open")))

    def _push(self, found: Fired) -> None:
        self._open.append(found)
        if sum(len(each.unit) for each in self._open) > 2 * self._united + _OPEN:
            every = united(self._open)
            whole = self.extents.seen(self._seen, every.document)
            self._close(every.take(whole))
            self._open = [every.take(~whole)]
            self._united = len(self._open[0].unit)

    def _close(self, found: Fired) -> None:
        np.add.at(self.windows, found.unit, found.windows)
        np.add.at(self.documents, found.unit, 1)
        self.reservoir.add(found, drawn_by(found.unit, found.document, self.document_word))
        self.top.add(found)
