"""Control random_directions: what the token scores give for directions that nobody trained, at matched density.

    a(t) = max(0, ⟨r, x − mean⟩ − θ)       r uniform on the sphere; θ so that a fires as often as a unit of the member

θ is set on a sample of whole sequences, so densities below one in the sample's rows are matched only roughly.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.store import Store

from .activity import Activity
from .corpus import Corpus
from .firings import firings
from .member_pass import CONTROL_UNITS
from .rows import Rows
from .token_sums import TokenSums

SAMPLE_ROWS = 32_768


class RandomDirections:
    def __init__(self, densities: NDArray[np.float64], sample: Tensor, corpus: Corpus, seed: int) -> None:
        """`densities` of the member's alive units; `sample` [rows, d] of counted rows, the mean subtracted."""
        random = np.random.default_rng(seed)
        n = min(CONTROL_UNITS, len(densities))
        targets = random.choice(densities, size=n, replace=False) if n else densities
        directions = random.standard_normal((n, sample.shape[1])).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.directions = torch.from_numpy(directions.T).to(sample.device)  # [d, n]
        self.threshold = torch.zeros(n, device=sample.device)
        if n:
            self.threshold = _thresholds(sample @ self.directions, targets)
        self.activity = Activity(n)
        self.token_sums = TokenSums(corpus.vocabulary)

    def consume(self, rows: Rows, x: Tensor) -> None:
        """`x` [B, d]: the activations of `rows`, the mean subtracted."""
        if not len(self.threshold):
            return
        codes = (x @ self.directions).sub_(self.threshold).relu_()
        batch = firings(rows, codes.cpu().numpy())
        self.activity.update(batch)
        self.token_sums.update(batch.unit, rows.tokens[batch.row], batch.value)

    def merge(self, other: Self) -> None:
        self.activity.merge(other.activity)
        self.token_sums.merge(other.token_sums)


def _thresholds(projected: Tensor, targets: NDArray[np.float64]) -> Tensor:
    """[n]: exceeded by (rounded) the target's share of the sample's rows, and by at least one."""
    n_rows = len(projected)
    firing = np.clip(np.rint(targets * n_rows), 1, n_rows - 1).astype(np.int64)
    ascending = np.sort(projected.T.cpu().numpy(), axis=1)
    return torch.from_numpy(ascending[np.arange(len(firing)), n_rows - 1 - firing]).to(projected.device)


def sample_rows(store: Store, hook: str, corpus: Corpus) -> Tensor:
    """[at most SAMPLE_ROWS, d] float32: counted rows of sequences that are spread evenly over the store."""
    sequences = np.concatenate([np.arange(a, b) for a, b in corpus.ranges])
    n = min(len(sequences), max(1, SAMPLE_ROWS // store.context))
    chosen = sequences[np.unique(np.linspace(0, len(sequences) - 1, n).astype(np.int64))]
    rows = (chosen[:, None] * store.context + np.arange(store.context))[store.mask[chosen]]
    return store.read_rows(hook, rows).float()
