"""How often each unit fires together with each concept: one pass over the firings, merged by adding.

4 bytes a unit, concept and split: 7 MB for 2,304 units and 402 concepts, 51 MB for 16k, 320 MB for 100k units. Counts
fit in them up to 2³¹ rows. Time goes with the firings times the concepts that are true of a row (11 on average).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from actpipe.analysis.agreement import Confusion
from actpipe.analysis.compiled import compiled
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.firings import Firings
from actpipe.analysis.scores.score import State
from actpipe.analysis.splits import PROFILE, SCORE

from .labels import Labels, labels_of

CHOICE, REPORT = 0, 1  # what is chosen on one set of documents is reported on another
_SPLITS = (PROFILE, SCORE)


class ConceptCounts:
    def __init__(self, corpus: Corpus, n: int) -> None:
        """Where the texts of tokens are not known nothing is counted."""
        self.corpus, self.n = corpus, n
        concepts = len(self.labels.bank.concepts) if self.labels else 0
        self.hits = np.zeros((2, concepts, n), np.int32)  # rows of CHOICE and REPORT where both are true
        self.fires = np.zeros((2, n), np.int64)
        self.true = np.zeros((2, concepts), np.int64)  # rows where the concept is true
        self.rows = np.zeros(2, np.int64)  # rows that count
        self.largest = np.zeros(n, np.float32)  # activation of each unit in REPORT

    @property
    def labels(self) -> Labels | None:
        """Looked up, not held: accumulators are copied and sent to other processes."""
        return labels_of(self.corpus)

    def update(self, batch: Firings) -> None:
        rows, labels = batch.rows, self.labels
        if labels is None:
            return
        for place, split in enumerate(_SPLITS):
            part = batch.of(split)
            starts, row, _ = part.by_unit
            _add(starts, row, *labels.by_row(rows), self.hits[place])
            self.fires[place] += np.bincount(part.unit, minlength=self.n)
            self.rows[place] += int((rows.counted & (rows.split == split)).sum())
            self.true[place] += labels.true_rows(rows, split)
        np.maximum.at(self.largest, part.unit, part.value)

    def merge(self, other: Self) -> None:
        for name in ("hits", "fires", "true", "rows"):
            getattr(self, name)[...] += getattr(other, name)
        np.maximum(self.largest, other.largest, out=self.largest)

    def state(self) -> State:
        return {name: getattr(self, name) for name in ("hits", "fires", "true", "rows", "largest")}

    def restore(self, state: State) -> None:
        for name, value in state.items():
            setattr(self, name, value.copy())

    def confusion(self, place: int, units: slice) -> Confusion:
        """Truth is the unit, the prediction is the concept: each [units, concepts]."""
        hits = self.hits[place][:, units].T.astype(np.float64)
        fires = self.fires[place][units].astype(np.float64)[:, None]
        false = self.true[place] - hits
        return Confusion(hits, false, fires - hits, self.rows[place] - fires - false)


@compiled
def _add(starts: Any, row: Any, begins: Any, concept: Any, hits: Any) -> None:
    """Those of row t are concept[begins[t]:begins[t + 1]]."""
    mine = np.zeros(len(hits), np.int32)  # of one unit: hits[:, u] is spread over the memory
    for u in range(len(starts) - 1):
        if starts[u] == starts[u + 1]:
            continue
        mine[:] = 0
        for i in range(starts[u], starts[u + 1]):
            for k in range(begins[row[i]], begins[row[i] + 1]):
                mine[concept[k]] += 1
        for c in range(len(mine)):
            hits[c, u] += mine[c]
