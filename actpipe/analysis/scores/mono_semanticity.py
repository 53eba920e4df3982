"""MonoSemanticity: are the texts that a unit fires on about one thing? (T4; Pach et al. 2504.02821, NeurIPS 2025)

An item is a tile of 32 tokens, with the largest activation in it and an embedding of its text. The score is exact over
all pairs of tiles (embeddings/pair_similarity.py), corrected for what two tiles at random share:

    MS_c = (MS − μ₀) / (1 − μ₀)

and taken a second time with an embedding that knows words and not what they mean. A unit for one word or one ending has
as much of that: what is left of the difference is meaning. Nothing is fitted, so all splits count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import numpy as np

from actpipe.analysis.embeddings import Embedding, Lexical, TokenEmbeddings
from actpipe.analysis.embeddings.embedding import block_vectors, opened
from actpipe.analysis.embeddings.pair_similarity import Column, PairSimilarity, PairSums, VectorSums
from actpipe.analysis.firings import Firings
from actpipe.analysis.multiplicity import benjamini_hochberg
from actpipe.errors import ActpipeError

from .score import Accumulator, Metric, Score, Scored, State, Subject

MEANING, WORDS = "meaning", "words"


class PairsOfTiles:
    """Pair sums under each embedding that is at hand."""

    def __init__(self, subject: Subject, embeddings: Mapping[str, Embedding]) -> None:
        self.corpus, self.embeddings = subject.corpus, dict(embeddings)
        self.sums = {
            role: PairSums(subject.n, opened(embedding, subject.corpus).dims) for role, embedding in embeddings.items()
        }

    def update(self, batch: Firings) -> None:
        for role, embedding in self.embeddings.items():
            vectors = block_vectors(embedding, self.corpus, batch.rows)
            sums = batch.rows.once(f"sums of {embedding!r}", partial(VectorSums.of, vectors))
            self.sums[role].update(batch, vectors, sums)

    def merge(self, other: Self) -> None:
        for role, sums in self.sums.items():
            sums.merge(other.sums[role])

    def state(self) -> State:
        return {f"{role}.{name}": value for role, sums in self.sums.items() for name, value in sums.state().items()}

    def restore(self, state: State) -> None:
        for role, sums in self.sums.items():
            sums.restore({name: state[f"{role}.{name}"] for name in sums.state()})


@dataclass(frozen=True)
class MonoSemanticity(Score):
    name = "mono_semanticity"
    text = "whether the texts that a unit fires on are alike in meaning"
    metrics = (
        Metric("ms", "mean cosine of two texts that the unit fires on, weighted by activation", better="higher"),
        Metric("ms_c", "the same above chance: 0 as two texts at random, 1 identical", better="higher"),
        Metric("ms_z", "standard deviations above chance, over permutations of the texts", better="higher"),
        Metric("ms_q", "the false discovery rate at which this is above chance, over all units of the dictionary"),
        Metric("ms_lexical", "ms_c by words and letters alone"),
        Metric("ms_lexical_z", "standard deviations above chance by words and letters alone"),
        Metric("ms_beyond_words", "ms_c less ms_lexical: what the words themselves do not explain", better="higher"),
    )
    embedding: Embedding = field(default_factory=TokenEmbeddings)
    words: Embedding = field(default_factory=Lexical)

    def gather(self, subject: Subject) -> PairsOfTiles:
        return PairsOfTiles(subject, self._at_hand(subject)[0])

    def _at_hand(self, subject: Subject) -> tuple[dict[str, Embedding], tuple[str, ...]]:
        found: dict[str, Embedding] = {}
        notes: list[str] = []
        for role, embedding in ((MEANING, self.embedding), (WORDS, self.words)):
            try:
                opened(embedding, subject.corpus)
                found[role] = embedding
            except ActpipeError as error:
                notes.append(f"Texts are not compared by {embedding.name}: {error}")
        return found, tuple(notes)

    def finish(
        self,
        subject: Subject,
        gathered: Accumulator,
        checked: Accumulator | None,
        found: Mapping[str, Scored],
    ) -> Scored:
        assert isinstance(gathered, PairsOfTiles)
        pairs = {role: sums.finish() for role, sums in gathered.sums.items()}
        undefined = np.full(subject.n, np.nan)
        nothing = PairSimilarity(undefined, np.nan, undefined)
        meaning, words = pairs.get(MEANING, nothing), pairs.get(WORDS, nothing)
        columns = {
            "ms": meaning.similarity,
            "ms_c": _above_chance(meaning),
            "ms_z": meaning.z,
            "ms_q": benjamini_hochberg(_above_by_chance(meaning.z)),
            "ms_lexical": _above_chance(words),
            "ms_lexical_z": words.z,
            "ms_beyond_words": _above_chance(meaning) - _above_chance(words),
        }
        return Scored(columns, notes=self._at_hand(subject)[1])


def _above_by_chance(z: Column) -> Column:
    """P(Z ≥ z) of a normal Z."""
    from scipy.special import ndtr

    return np.asarray(ndtr(-z))


def _above_chance(pairs: PairSimilarity) -> Column:
    if not pairs.chance < 1:  # all tiles are alike: none can be more alike than chance
        return np.full(len(pairs.similarity), np.nan)
    return (pairs.similarity - pairs.chance) / (1 - pairs.chance)
