"""What is kept of the tokens seen so far at one hook: sums that add up, so memory does not grow with the text.

The sums stand by position in the sequence and, for the intervals, by replicate of the bootstrap; those over all
positions are their sums. Two accumulators of different tokens merge into that of both, whatever the split.

Shapes: b tokens, n units, k measures, p bins of positions, r replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import bootstrap
from .bootstrap import Floats
from .measures import above, measure


@dataclass(frozen=True)
class Positions:
    """Bins of positions, two an octave: 0, 1, 2, 3, 4–5, 6–7, 8–11, … so that a long text needs few."""

    starts: tuple[int, ...]  # first position of each bin
    context: int

    @classmethod
    def of(cls, context: int) -> Positions:
        octaves = [2**e for e in range(context.bit_length() + 1)]
        starts = sorted({0, 1, *octaves, *(start + start // 2 for start in octaves)})
        return cls(tuple(start for start in starts if start < context), context)

    def __len__(self) -> int:
        return len(self.starts)

    def bins(self, positions: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        return np.searchsorted(self.starts, positions, side="right") - 1

    def last(self, index: int) -> int:
        """The last position of a bin."""
        return (self.starts[index + 1] if index + 1 < len(self) else self.context) - 1


@dataclass(frozen=True)
class Tokens:
    """Counted tokens of one batch: to which document and bin each belongs. One for all hooks."""

    group: NDArray[np.int64]  # [b] (index of the document in the batch) · p + bin
    weights: Floats  # [r, documents of the batch]
    positions: Positions

    @classmethod
    def of(
        cls, keys: NDArray[np.uint64], positions: NDArray[np.integer[Any]], bins: Positions
    ) -> Tokens:  # keys [b] say which document
        documents, index = np.unique(keys, return_inverse=True)
        return cls(index * len(bins) + bins.bins(positions), bootstrap.weights(documents), bins)

    def sums(self, values: Floats) -> Floats:
        """[b, k] → [documents, p, k]."""
        cells = self.weights.shape[1] * len(self.positions)
        columns = [np.bincount(self.group, weights=column, minlength=cells) for column in values.T]
        stacked: Floats = np.stack(columns, axis=1).astype(np.float64)
        return stacked.reshape(-1, len(self.positions), values.shape[1])


class HookSums:
    """Of one hook of one model on one task."""

    def __init__(self, n_units: int, n_measures: int, positions: Positions, eps: tuple[float, ...]) -> None:
        self.positions, self.eps = positions, eps
        shape = (len(positions), n_measures)
        self.sums, self.counts = np.zeros(shape), np.zeros(shape)
        self.replicate_sums, self.replicate_counts = (np.zeros((bootstrap.REPLICATES, *shape)) for _ in range(2))
        self.tokens = 0
        self.nonzero = np.zeros(n_units, np.int64)  # tokens at which a unit is not 0
        self.strong = np.zeros(n_units, np.int64)  # tokens at which it is above the largest eps
        self.size = np.zeros(n_units)  # Σ |a|
        self.largest = np.zeros(n_units)  # max |a|

    @property
    def n_units(self) -> int:
        return len(self.nonzero)

    def update(self, a: Tensor, tokens: Tokens, norms: Tensor | None) -> None:
        """`a` [b, n] float32: the activations at the counted tokens."""
        if not len(a):
            return
        self.tokens += len(a)
        self._add(measure(a, norms, self.eps).cpu().numpy(), tokens)
        size = a.abs()
        self.nonzero += _true(a != 0)
        self.strong += _true(above(a, self.eps[-1]))
        self.size += size.sum(dim=0, dtype=torch.float64).cpu().numpy()
        self.largest = np.maximum(self.largest, size.amax(dim=0).double().cpu().numpy())

    def merge(self, other: Self) -> None:
        for name in ("sums", "counts", "replicate_sums", "replicate_counts", "tokens", "nonzero", "strong", "size"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.largest = np.maximum(self.largest, other.largest)

    def mean(self) -> Floats:
        """[k] over all tokens; NaN where a measure is defined at none."""
        return _ratio(self.sums.sum(axis=0), self.counts.sum(axis=0))

    def replicates(self) -> Floats:
        """[r, k] of that mean."""
        return _ratio(self.replicate_sums.sum(axis=1), self.replicate_counts.sum(axis=1))

    def means_by_position(self) -> Floats:
        """[p, k]."""
        return _ratio(self.sums, self.counts)

    def replicates_by_position(self) -> Floats:
        """[r, p, k]."""
        return _ratio(self.replicate_sums, self.replicate_counts)

    def _add(self, values: Floats, tokens: Tokens) -> None:
        defined = np.isfinite(values)
        sums, counts = tokens.sums(np.where(defined, values, 0.0)), tokens.sums(defined.astype(np.float64))
        self.sums += sums.sum(axis=0)
        self.counts += counts.sum(axis=0)
        self.replicate_sums += np.tensordot(tokens.weights, sums, axes=1)
        self.replicate_counts += np.tensordot(tokens.weights, counts, axes=1)


def _true(mask: Tensor) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = mask.view(torch.uint8).sum(dim=0, dtype=torch.int64).cpu().numpy()
    return counts


def _ratio(sums: Floats, counts: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = sums / counts
    return found
