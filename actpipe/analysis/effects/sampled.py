"""Which units are looked at: a uniform draw from those that fire."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.splits import SCORE
from actpipe.analysis.units import UnitSet

_ALIVE_SEQUENCES = 64
_CODES_AT_ONCE = 1 << 23  # floats, 32 MiB


def draw(alive: NDArray[np.bool_], n: int, seed: int) -> NDArray[np.int64]:
    """Numbers of at most `n` units that are alive, ascending."""
    numbers = np.flatnonzero(alive)
    chosen = np.random.default_rng(seed).permutation(len(numbers))[:n]
    return np.sort(numbers[chosen])


def alive_in(corpus: Corpus, units: UnitSet, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[n]: fires on one of the first sequences of `order`; for where nobody has counted."""
    return np.asarray(fires(corpus, units, order[:_ALIVE_SEQUENCES]).any(axis=0))


def fires(corpus: Corpus, units: UnitSet, number: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[sequences, n]: whether each unit fires on a row of SCORE of each sequence, by the rows of the store."""
    store = corpus.store
    found = np.zeros((len(number), units.n), dtype=np.bool_)
    for place, sequence in enumerate(number.tolist()):
        x = store.read(units.hook, sequence * store.context, (sequence + 1) * store.context)
        scored = store.mask[sequence] & (corpus.split[store.doc[sequence]] == SCORE)
        for codes in coded(units, x[torch.from_numpy(scored)]):
            found[place] |= (codes > 0).any(0).cpu().numpy()
    return found


def coded(units: UnitSet, x: Tensor) -> list[Tensor]:
    """Codes [b, n] of rows [N, d], a few rows at a time, on the device of the rows."""
    where = units.directions.device
    rows = max(1, _CODES_AT_ONCE // units.n)
    with torch.no_grad():
        return [units.codes(some.to(where).float()).to(x.device) for some in torch.split(x, rows)]
