"""How well batches are shuffled, told from the order and the documents alone, without reading an activation.

Rows of one document resemble each other, so a batch with many of the same document says less than its size:

    mates            other rows of its batch that are of the same document, mean over the rows
    effective batch  B / (1 + ρ · mates): independent rows that tell the mean as exactly (the design effect of cluster
                     sampling), ρ being the intraclass correlation of the activations within a document
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .order import Integers


class ShuffleQuality(NamedTuple):
    batch_size: int
    mates: float
    exact_mates: float
    """What an exact shuffle of the same rows has on average."""
    documents: float
    """Different documents of a batch, mean over the batches."""

    def effective_batch(self, icc: float) -> float:
        return self.batch_size / (1 + icc * self.mates)

    def exact_effective_batch(self, icc: float) -> float:
        return self.batch_size / (1 + icc * self.exact_mates)


def shuffle_quality(delivered: Iterable[Integers], doc: NDArray[np.int32], batch_size: int) -> ShuffleQuality:
    """Of the whole batches among `delivered`, row numbers in pieces; `doc` is the document of each row of the store."""
    documents = np.concatenate([doc[rows] for rows in delivered])
    n_rows = len(documents)
    if not 2 <= batch_size <= n_rows:
        raise Misuse(f"Batches of {batch_size} rows cannot be judged; give 2 to {n_rows}, the rows that are selected.")
    counts = [
        np.unique(documents[start : start + batch_size], return_counts=True)[1]
        for start in range(0, n_rows - batch_size + 1, batch_size)
    ]
    sizes = np.unique(documents, return_counts=True)[1]
    return ShuffleQuality(
        batch_size=batch_size,
        mates=float(np.mean([(each * (each - 1)).sum() / batch_size for each in counts])),
        exact_mates=float((batch_size - 1) * (sizes * (sizes - 1.0)).sum() / (n_rows * (n_rows - 1.0))),
        documents=float(np.mean([len(each) for each in counts])),
    )
