"""Tokenised documents of one split, and which examples a step is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Texts:
    """All tokens of a split end to end, each part of a document closed by the end-of-text token.

    A document has one part for each column that the task reads: one text for language modelling, source and target
    for translation. Parts lie one after the other: part c of document i is tokens[bounds[i, c] : bounds[i, c + 1]].
    """

    tokens: NDArray[np.unsignedinteger]
    """[n], uint16 or uint32; usually mapped from a file"""
    bounds: Integers
    """[documents, columns + 1]"""

    def __len__(self) -> int:
        """Documents."""
        return len(self.bounds)

    def part(self, document: int, column: int = 0) -> Integers:
        """One text of a document, its closing end-of-text token included."""
        start, stop = self.bounds[document, column : column + 2]
        return self.tokens[start:stop].astype(np.int64)

    def first(self, tokens: int) -> Texts:
        """The first documents, as many as have no more tokens than that together; at least one."""
        documents = max(1, int((self.bounds[:, -1] <= tokens).sum()))
        bounds = self.bounds[:documents]
        return Texts(self.tokens[: bounds[-1, -1]], bounds)

    def window(self, start: int, length: int) -> Integers:
        """`length` tokens from `start`, across documents, as language models read a stream; behind the end comes the
        beginning again."""
        start %= len(self.tokens)
        read = self.tokens[start : start + length].astype(np.int64)
        return read if len(read) == length else np.concatenate([read, self.window(0, length - len(read))])


@dataclass(frozen=True)
class Vocabulary:
    """What a task must know of the tokenizer: its size, and the numbers of the tokens that are not text."""

    size: int
    end: int
    """`<|endoftext|>`: closes every text"""
    special: dict[str, int] = field(default_factory=dict)
    """Number of each of the task's own special tokens, such as `<pad>`."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Which examples a batch holds, and where their randomness comes from: nothing else decides a batch."""

    index: Integers
    """[B], each from 0 up to what the task's `n_examples` says"""
    epoch: Integers
    """[B], passes over the text before this one; validation is epoch 0 of its own seed"""
    seed: int

    def __len__(self) -> int:
        return len(self.index)

    def generator(self, i: int) -> np.random.Generator:
        """For the random choices inside example i of the batch: a function of seed, epoch and index alone."""
        return np.random.default_rng((self.seed, int(self.epoch[i]), int(self.index[i])))


def examples_at(first: int, count: int, *, n_examples: int, seed: int) -> Examples:
    """`count` examples from number `first` of the training: every pass has all examples in an order of its own."""
    numbers = np.arange(first, first + count, dtype=np.int64)
    epoch, place = np.divmod(numbers, n_examples)
    index = np.empty_like(numbers)
    for one in np.unique(epoch):
        of = epoch == one
        index[of] = _permutation(n_examples, seed, int(one))[place[of]]
    return Examples(index, epoch, seed)


def examples_in_order(first: int, count: int, *, seed: int) -> Examples:
    """For validation: the same examples every time, one after the other."""
    numbers = np.arange(first, first + count, dtype=np.int64)
    return Examples(numbers, np.zeros_like(numbers), seed)


@lru_cache(maxsize=2)  # a batch may cross from one pass into the next
def _permutation(n: int, seed: int, epoch: int) -> Integers:
    return np.random.default_rng((seed, epoch)).permutation(n)
