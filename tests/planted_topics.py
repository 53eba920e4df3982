"""Text about known topics, and an embedding that knows them: words of a topic are spelled differently and mean the
same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.embeddings import Embedding
from actpipe.analysis.embeddings.token_table import TokenTable, token_table
from actpipe.store import Store

from .planted_units import text_store

TOPICS, WORDS, COMMON = 8, 40, 20  # words of each topic, and words that all topics share
VOCABULARY = TOPICS * WORDS + COMMON
CONTEXT, SEQUENCES = 64, 400


@dataclass(frozen=True)
class Meanings(Embedding):
    """A word of topic k is the k-th unit vector and a little noise; common words are noise alone."""

    name: ClassVar[str] = "meanings"
    text: ClassVar[str] = "what the words were planted to mean"
    noise: float = 0.1

    def open(self, corpus: Corpus) -> TokenTable:
        vectors = np.zeros((VOCABULARY, 64), np.float32)
        vectors[np.arange(TOPICS * WORDS), topic_of_word(np.arange(TOPICS * WORDS))] = 1
        vectors += self.noise * np.random.default_rng(5).normal(size=vectors.shape).astype(np.float32) / 8
        return token_table(vectors, corpus, dims=64)


def topic_of_word(token: np.ndarray) -> np.ndarray:
    """TOPICS for a common word."""
    return token // WORDS


def topic_store(path: Path, seed: int = 0) -> tuple[Store, np.ndarray]:
    """A store whose every sequence is a document of one topic, half of whose words are common; and the topic of every
    sequence."""
    random = np.random.default_rng(seed)
    topic = random.integers(0, TOPICS, size=SEQUENCES)
    tokens = topic[:, None] * WORDS + random.integers(0, WORDS, size=(SEQUENCES, CONTEXT))
    common = random.random((SEQUENCES, CONTEXT)) < 0.5
    tokens[common] = TOPICS * WORDS + random.integers(0, COMMON, size=common.sum())
    documents = np.repeat(np.arange(SEQUENCES), CONTEXT).reshape(SEQUENCES, CONTEXT)
    return text_store(path, tokens, documents), topic
