"""Control random_directions: units that nobody trained, at the densities of those that somebody did.

    a(t) = max(0, ⟨r, x − mean⟩ − θ)       r uniform on the sphere; θ so that a fires as often as a unit of the member

θ is set on a sample of whole sequences, so densities below one in the sample's rows are matched only roughly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.analysis.corpus import Corpus
from actpipe.store import Store
from sae.linear import linear

from .unit_set import UnitSet

SAMPLE_ROWS = 32_768


@dataclass(frozen=True, kw_only=True)
class RandomDirections(UnitSet):
    name: str
    hook: str
    drawn: Tensor  # [n, d], of length 1
    mean: Tensor  # [d]
    threshold: Tensor  # [n]

    kind = "random"

    @classmethod
    def matching(
        cls, densities: NDArray[np.float64], sample: Tensor, mean: Tensor, *, n: int, seed: int, name: str, hook: str
    ) -> RandomDirections:
        """At most `n`; `densities` of alive units; `sample` [rows, d] of counted rows."""
        random = np.random.default_rng(seed)
        n = min(n, len(densities))
        targets = random.choice(densities, size=n, replace=False) if n else densities
        drawn = random.standard_normal((n, sample.shape[1])).astype(np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        directions = torch.from_numpy(drawn).to(sample.device)
        threshold = torch.zeros(n, device=sample.device)
        if n:
            threshold = _thresholds((sample - mean) @ directions.T, targets)
        return cls(name=name, hook=hook, drawn=directions, mean=mean, threshold=threshold)

    @property
    def writes(self) -> str:  # type: ignore[override]
        return self.hook

    @property
    def feature(self) -> NDArray[np.int64]:  # type: ignore[override]
        return np.arange(len(self.threshold))

    @property
    def sign(self) -> NDArray[np.int8]:  # type: ignore[override]
        return np.ones(len(self.threshold), np.int8)

    @property
    def directions(self) -> Tensor:
        return self.drawn

    @property
    def reads(self) -> Tensor:
        return self.drawn

    def codes(self, x: Tensor) -> Tensor:
        return linear(x - self.mean, self.drawn, -self.threshold).relu_()


def _thresholds(projected: Tensor, targets: NDArray[np.float64]) -> Tensor:
    """[n]: exceeded by (rounded) the target's share of the sample's rows, and by at least one."""
    n_rows = len(projected)
    firing = np.clip(np.rint(targets * n_rows), 1, n_rows - 1).astype(np.int64)
    ascending = np.sort(projected.T.cpu().numpy(), axis=1)
    return torch.from_numpy(ascending[np.arange(len(firing)), n_rows - 1 - firing]).to(projected.device)


def sample_rows(store: Store, hook: str, corpus: Corpus, split: int | None = None) -> Tensor:
    """[at most SAMPLE_ROWS, d] float32: counted rows of sequences that are spread evenly over the store, of one split
    of the documents if it is given."""
    sequences = np.concatenate([np.arange(a, b) for a, b in corpus.ranges])
    n = min(len(sequences), max(1, SAMPLE_ROWS // store.context))
    chosen = sequences[np.unique(np.linspace(0, len(sequences) - 1, n).astype(np.int64))]
    wanted = store.mask[chosen]
    if split is not None:
        wanted = wanted & (corpus.split[store.doc[chosen]] == split)
    rows = (chosen[:, None] * store.context + np.arange(store.context))[wanted]
    return store.read_rows(hook, rows).float()
