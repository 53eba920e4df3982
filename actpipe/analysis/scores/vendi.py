"""Vendi: how many things are the texts about that a unit fires on? (T5; formula: embeddings/diversity.py)

Of each unit up to 64 tiles are drawn in proportion to activation (embeddings/proportional_sample.py). Tiles of one
document count as one text, whose weight is theirs together: a document is not several witnesses of a concept.

No embedding is so clean that two texts on one subject have the same vector, so the number itself is large. What can be
read is its ratio to that of as many texts at random, between 1 / 64 and about 1. From the same sample comes the
similarity of texts of different documents, which does not reward a unit for firing throughout a document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.embeddings import Embedding, TokenEmbeddings
from actpipe.analysis.embeddings.diversity import Reference, effective_number, gram, similarity_across, vendi
from actpipe.analysis.embeddings.embedding import Vectors, opened
from actpipe.analysis.embeddings.proportional_sample import ProportionalSample, Sample
from actpipe.analysis.embeddings.tiles import Peaks, peaks_of, tiles_at, tiles_of
from actpipe.analysis.firings import Firings
from actpipe.errors import ActpipeError

from .score import Accumulator, Metric, Score, Scored, State, Subject

KEEP = 64  # tiles a unit
LEAST = 8  # texts; of fewer the number says more about how many they are. Heuristic, not tuned.
_AT_RANDOM = 512  # tiles of the corpus that stand for it
_UNITS = 256  # decomposed together: 34 MB at 256 dimensions


class DrawnTiles:
    """Tiles of each unit, and tiles of the corpus whatever fires on them."""

    def __init__(self, subject: Subject, embedding: Embedding) -> None:
        self.corpus, self.embedding = subject.corpus, embedding
        self.drawn = ProportionalSample(subject.n, keep=KEEP, seed=subject.seed)
        self.at_random = ProportionalSample(1, keep=_AT_RANDOM, seed=subject.seed)

    def update(self, batch: Firings) -> None:
        tile, peaks = tiles_of(batch.rows).tiles.tile, peaks_of(batch)
        takes = opened(self.embedding, self.corpus).takes(tile)
        if not takes.all():
            seen = takes[peaks.item]
            peaks = Peaks(peaks.unit[seen], peaks.item[seen], peaks.value[seen])
        self.drawn.update(tile, peaks)
        item = np.flatnonzero(takes)
        self.at_random.update(tile, Peaks(np.zeros_like(item), item, np.ones(len(item))))

    def merge(self, other: Self) -> None:
        self.drawn.merge(other.drawn)
        self.at_random.merge(other.at_random)

    def state(self) -> State:
        both = {"drawn": self.drawn.state(), "at_random": self.at_random.state()}
        return {f"{which}.{name}": value for which, state in both.items() for name, value in state.items()}

    def restore(self, state: State) -> None:
        for which, sample in (("drawn", self.drawn), ("at_random", self.at_random)):
            sample.restore({name: state[f"{which}.{name}"] for name in ("unit", "tile", "value")})


class Nothing:
    """Gathered where there is no embedding."""

    def update(self, batch: Firings) -> None:
        pass

    def merge(self, other: Self) -> None:
        pass

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        pass


@dataclass(frozen=True)
class Vendi(Score):
    name = "vendi"
    text = "how many things the texts are about that a unit fires on"
    metrics = (
        Metric("vendi", "number of texts without anything in common that are as diverse as those the unit fires on"),
        Metric("vendi_ratio", "the same over that of as many texts at random", unit="share", better="lower"),
        Metric("ms_across", "ms_c of texts from different documents, from a sample", better="higher"),
        Metric("vendi_texts", "documents among the sampled texts, in equal weights: the most vendi can be"),
    )
    embedding: Embedding = field(default_factory=TokenEmbeddings)

    def gather(self, subject: Subject) -> Accumulator:
        return Nothing() if self._missing(subject.corpus) else DrawnTiles(subject, self.embedding)

    def _missing(self, corpus: Corpus) -> str | None:
        try:
            opened(self.embedding, corpus)
        except ActpipeError as error:
            return f"Texts are not counted by {self.embedding.name}: {error}"
        return None

    def finish(
        self,
        subject: Subject,
        gathered: Accumulator,
        checked: Accumulator | None,
        found: Mapping[str, Scored],
    ) -> Scored:
        columns = {metric.name: np.full(subject.n, np.nan) for metric in self.metrics}
        if not isinstance(gathered, DrawnTiles):
            return Scored(columns, notes=(self._missing(subject.corpus) or "",))
        texts, reference, chance = self._texts(gathered, subject)
        for first in range(0, subject.n, _UNITS):
            units = slice(first, min(first + _UNITS, subject.n))
            vectors, weight = texts.of(units)
            number = effective_number(weight).numpy()
            enough = ((weight > 0).sum(dim=1) >= LEAST).numpy()
            pairs = gram(vectors, weight)
            count, alike = vendi(pairs).numpy(), similarity_across(pairs, weight).numpy()
            measured = (count, count / reference.at(number), (alike - chance) / (1 - chance), number)
            for name, values in zip(columns, measured, strict=True):
                columns[name][units] = np.where(enough, values, np.nan)
        return Scored(columns)

    def _texts(self, gathered: DrawnTiles, subject: Subject) -> tuple[Texts, Reference, float]:
        """The texts of every unit, and how diverse and how alike texts at random are."""
        embedder = opened(self.embedding, subject.corpus)

        def texts(sample: Sample, n: int) -> Texts:
            tile, place = np.unique(sample.tile, return_inverse=True)
            vectors = embedder.embed(tiles_at(subject.corpus, tile))
            return Texts(one_a_document(sample, place, vectors, _documents(subject.corpus, tile)), vectors, n)

        vectors, weight = texts(gathered.at_random.finish(), 1).of(slice(0, 1))
        # Equal weights, whatever the number of a document's tiles in the sample.
        equal = torch.ones_like(weight)
        chance = float(similarity_across(gram(vectors, equal), equal)[0])
        return texts(gathered.drawn.finish(), subject.n), Reference(vectors[0], subject.seed), chance


def _documents(corpus: Corpus, tile: NDArray[np.int64]) -> NDArray[np.int64]:
    sequence, position = np.divmod(tile, corpus.store.context)
    found: NDArray[np.int64] = corpus.store.doc[sequence, position].astype(np.int64)
    return found


def one_a_document(sample: Sample, place: NDArray[np.int64], vectors: Vectors, documents: NDArray[np.int64]) -> Sample:
    """Of the tiles of a unit in one document the first by priority, with the weight of all; `tile` becomes an index
    into `vectors`. Tiles without a direction are left out."""
    known = np.asarray(vectors.any(axis=1))[place]
    unit, place, weight = sample.unit[known], place[known], sample.weight[known]
    key = unit * (1 + documents.max(initial=0)) + documents[place]
    _, first, text = np.unique(key, return_index=True, return_inverse=True)
    together = np.bincount(text, weights=weight, minlength=len(first))
    return Sample(unit[first], place[first], together.astype(np.float64))


class Texts:
    """Texts of each unit, filled up with texts of weight 0 to the number of the one with most."""

    def __init__(self, sample: Sample, vectors: Vectors, n_units: int) -> None:
        self.sample, self.vectors = sample, vectors
        self.starts = np.searchsorted(sample.unit, np.arange(n_units + 1))

    def of(self, units: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """vectors [units, n, dims] and weights [units, n]."""
        here = slice(self.starts[units.start], self.starts[units.stop])
        unit = self.sample.unit[here] - units.start
        rank = np.arange(len(unit)) - (self.starts[units][unit] - self.starts[units.start])
        shape = units.stop - units.start, int(rank.max(initial=0)) + 1
        weight, vectors = np.zeros(shape), np.zeros((*shape, self.vectors.shape[1]))
        weight[unit, rank] = self.sample.weight[here]
        vectors[unit, rank] = self.vectors[self.sample.tile[here]]
        return torch.from_numpy(vectors), torch.from_numpy(weight)
