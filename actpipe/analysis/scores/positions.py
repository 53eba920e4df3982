"""Where in the text a unit fires: at which positions, in how many documents, alone or in bursts. Nothing of meaning.

position_bits        I(fires; bin) over 16 equal bins of the position in the sequence, less what chance gives:
                     Σ_b n_b/N · [d_b log₂(d_b/d) + (1−d_b) log₂((1−d_b)/(1−d))] − 15/(2 N ln 2)
                     n_b rows and density d_b in bin b, N rows and density d in all (Miller and Madow 1955)
position_share       position_bits / H(fires), H = −d log₂ d − (1−d) log₂(1−d)
burstiness           (h − c)/(1 − c): h share of firings that another one follows within 16 tokens, of those with as
                     many tokens left in their document; c = 1 − (1−d)¹⁶ what it is where firings know nothing of
                     each other. 0 at chance, 1 always. The usual (σ−μ)/(σ+μ) of the gaps (Goh and Barabási 2008)
                     is not 0 at chance here: documents end before most gaps do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.firings import Firings
from actpipe.analysis.rows import Rows
from actpipe.analysis.sampling.fired import borders
from actpipe.analysis.sampling.frame import Ints, Seen, State, extents

from .score import Accumulator, Metric, Score, Scored, Subject

BINS = 16
FOLLOWS = 16  # tokens: half a window
POSITIONAL = 0.1  # of H(fires). Heuristic, not tuned
FEWEST = 50  # firings, below which bursts in one document look like a preference for its position
_OPEN = 1 << 17  # keys before they are looked through
_SUMS = ("histogram", "first", "documents", "free", "followed", "rows")


class Places:
    """Counts of every unit, in 168 bytes; the documents that reach over the end of a block are kept by number."""

    def __init__(self, n_units: int, corpus: Corpus) -> None:
        self.corpus, self.extents = corpus, extents(corpus)
        self.histogram = np.zeros((n_units, BINS), dtype=np.int64)
        self.first = np.zeros(n_units, dtype=np.int64)  # firings on the first row of a sequence that counts
        self.documents = np.zeros(n_units, dtype=np.int64)  # with a firing; without the open ones
        self.free = np.zeros(n_units, dtype=np.int64)  # firings with FOLLOWS tokens after them,
        self.followed = np.zeros(n_units, dtype=np.int64)  # and those of them with a firing among these
        self.rows = np.zeros(BINS, dtype=np.int64)  # that count
        # unit · documents + document, of documents not seen whole
        self._open, self._seen, self._left = [np.zeros(0, np.int64)], Seen(), 0

    def update(self, batch: Firings) -> None:
        rows, context = batch.rows, self.corpus.store.context
        position_bin = np.arange(len(rows.tokens)) % context * BINS // context
        self.rows += np.bincount(position_bin[rows.counted], minlength=BINS)
        starts, row, _ = batch.by_unit
        first = _first_rows(rows, context)
        _add(starts, row, position_bin, first, rows.span_stop, self.histogram, self.first, self.free, self.followed)
        unit, document = _documents(starts, row, rows.documents)
        whole = self.extents.whole(rows, document)
        np.add.at(self.documents, unit[whole], 1)
        self._seen.add(np.array([[rows.first, rows.first + len(rows.tokens)]]))
        self._push(unit[~whole] * len(self.corpus.split) + document[~whole])

    def merge(self, other: Self) -> None:
        for name in _SUMS:
            getattr(self, name)[...] += getattr(other, name)
        self._seen.add(other._seen.intervals)
        for keys in other._open:
            self._push(keys)

    def state(self) -> State:
        self._close()
        return {**{name: getattr(self, name) for name in _SUMS}, "open": self._open[0], "seen": self._seen.intervals}

    def restore(self, state: State) -> None:
        for name in _SUMS:
            getattr(self, name)[...] += state[name]
        self._seen.add(state["seen"])
        self._push(state["open"])

    def all_documents(self) -> Ints:
        """After the last row."""
        self._close()
        total = self.documents.copy()
        np.add.at(total, self._open[0] // len(self.corpus.split), 1)
        return total

    def _push(self, keys: Ints) -> None:
        self._open.append(keys)
        if sum(map(len, self._open)) > 2 * self._left + _OPEN:
            self._close()

    def _close(self) -> None:
        keys = np.sort(np.concatenate(self._open))
        keys = keys[borders(keys)]
        unit, document = np.divmod(keys, len(self.corpus.split))
        whole = self.extents.seen(self._seen, document)
        np.add.at(self.documents, unit[whole], 1)
        self._open, self._left = [keys[~whole]], int((~whole).sum())


@compiled
def _add(
    starts: Any,
    row: Any,
    position_bin: Any,
    is_first: Any,
    span_stop: Any,
    histogram: Any,
    first: Any,
    free: Any,
    followed: Any,
) -> None:
    for u in range(len(first)):
        for i in range(starts[u], starts[u + 1]):
            t = row[i]
            histogram[u, position_bin[t]] += 1
            first[u] += is_first[t]
            if t + FOLLOWS < span_stop[t]:
                free[u] += 1
                followed[u] += i + 1 < starts[u + 1] and row[i + 1] - t <= FOLLOWS


@compiled
def _documents(starts: Any, row: Any, document: Any) -> Any:
    """A line for each run of a unit's firings in one document: its number and the document's."""
    units, documents = np.empty(len(row), np.int64), np.empty(len(row), np.int64)
    m = 0
    for u in range(len(starts) - 1):
        for i in range(starts[u], starts[u + 1]):
            here = document[row[i]]
            if i == starts[u] or documents[m - 1] != here:
                units[m], documents[m] = u, here
                m += 1
    return units[:m].copy(), documents[:m].copy()


def _first_rows(rows: Rows, context: int) -> NDArray[np.bool_]:
    """[B]: the first row of each sequence that counts."""

    def make() -> NDArray[np.bool_]:
        counted = rows.counted.reshape(-1, context)
        found = np.zeros_like(counted)
        found[np.arange(len(counted)), counted.argmax(axis=1)] = True
        return (found & counted).reshape(-1)

    return rows.once("first rows", make)


def position_bits(histogram: Ints, rows: Ints) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of firings [n, bins] over rows [bins]: the information, corrected for chance, and H(fires). Both in bits."""
    used = rows > 0
    n_b, n = rows[used].astype(np.float64), float(rows.sum())
    count = histogram.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = _entropy(count / n)
        within = (n_b / n * _entropy(histogram[:, used] / n_b)).sum(axis=1)
    chance = (len(n_b) - 1) / (2 * n * np.log(2)) if n else np.nan
    varies = (count > 0) & (count < n)
    return np.where(varies, total - within - chance, np.nan), np.where(varies, total, np.nan)


def _entropy(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a coin, in bits."""
    found: NDArray[np.float64] = np.zeros_like(share)
    for p in (share, 1 - share):
        found -= np.where(p > 0, p * np.log2(np.where(p > 0, p, 1)), 0)
    return found


@dataclass(frozen=True)
class Positions(Score):
    name: ClassVar[str] = "positions"
    text: ClassVar[str] = "where units fire: position in the sequence, documents, bursts"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("position_bits", "what the position in the sequence tells about firing, beyond chance", "bits"),
        Metric("position_share", "the same, as a share of all there is to know about firing", "share"),
        Metric("positional", f"1 where that share is above {POSITIONAL}; undefined below {FEWEST} firings"),
        Metric("first_token_share", "share of firings on the first token of a sequence", "share"),
        Metric("documents", "documents with a firing", "documents"),
        Metric("firings_per_document", "firings per document that has one", "firings"),
        Metric("burstiness", f"excess of firings that another follows within {FOLLOWS} tokens; 0 at chance, at most 1"),
    )
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "positions": pa.schema({"unit": pa.int32(), "bins": pa.list_(pa.field("element", pa.int64()))})
    }

    def gather(self, subject: Subject) -> Places:
        return Places(subject.n, subject.corpus)

    def finish(
        self, subject: Subject, gathered: Accumulator, checked: Accumulator | None, found: Mapping[str, Scored]
    ) -> Scored:
        seen = cast(Places, gathered)
        count, documents = seen.histogram.sum(axis=1), seen.all_documents()
        bits, entropy = position_bits(seen.histogram, seen.rows)
        chance = 1 - (1 - count / max(int(seen.rows.sum()), 1)) ** FOLLOWS
        with np.errstate(divide="ignore", invalid="ignore"):
            share = bits / entropy
            columns = {
                "position_bits": bits,
                "position_share": share,
                "positional": np.where(
                    (count >= FEWEST) & ~np.isnan(share), (share > POSITIONAL).astype(float), np.nan
                ),
                "first_token_share": seen.first / count,
                "documents": documents.astype(np.float64),
                "firings_per_document": count / documents,
                "burstiness": np.where(chance < 1, (seen.followed / seen.free - chance) / (1 - chance), np.nan),
            }
        return Scored(columns, {"positions": _table(seen.histogram)})


def _table(histogram: Ints) -> pa.Table:
    offsets = np.arange(len(histogram) + 1, dtype=np.int32) * BINS
    schema = Positions.tables["positions"]
    bins = pa.ListArray.from_arrays(pa.array(offsets), pa.array(histogram.reshape(-1)), type=schema.field("bins").type)
    return pa.table([pa.array(np.arange(len(histogram), dtype=np.int32)), bins], schema=schema)
