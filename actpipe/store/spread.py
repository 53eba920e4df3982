"""How a hook's rows spread over directions: the effective rank, and what int8 would lose.

From a few thousand rows that count, the same ones each time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .encoding import error_of
from .store import Store

SAMPLED_CHUNKS = 32
SAMPLED_ROWS = 4096
# Rows where the width leaves no time for more: the eigenvalues of a matrix of 1024 take 0.1 s.
SAMPLED_WIDE_ROWS = 1024
SHARE_OF_VARIANCE = 0.9


@dataclass(frozen=True)
class Spread:
    """From a sample of the rows that count."""

    rows: int
    participation: float
    """(Σλ)² / Σλ² of the eigenvalues of the covariance: how many directions share the variance"""
    directions: int
    """principal components that hold 90 % of the variance; too few where `rows` is not far above the width"""
    int8_loss: float
    """share of the variance of ordinary rows that int8 would lose, with a scale a channel and one a row"""


def spread_of(store: Store, hook: str, *, ordinary: float) -> Spread | None:
    """None where fewer than two rows count, or all are the same. `ordinary`: rows so many medians long at most."""
    width = store.hooks[hook]
    wanted = SAMPLED_ROWS if width <= SAMPLED_WIDE_ROWS else SAMPLED_WIDE_ROWS
    numbers = _sampled(store, store.layout.hooks[hook].chunk_rows, wanted)
    if len(numbers) < 2:
        return None
    x = store.read_rows(hook, numbers).float()
    centred = x - x.mean(dim=0)
    eigenvalues = _covariance_eigenvalues(centred)
    total = float(eigenvalues.sum())
    if not total > 0:
        return None
    held = np.cumsum(eigenvalues[::-1]) / total
    return Spread(
        rows=len(numbers),
        participation=_participation(eigenvalues, len(numbers), width),
        directions=int(np.searchsorted(held, SHARE_OF_VARIANCE)) + 1,
        int8_loss=_int8_loss(x, ordinary),
    )


def _sampled(store: Store, chunk_rows: int, wanted: int) -> NDArray[np.int64]:
    """Rows that count, evenly from a few inner chunks, because a chunk is read whole."""
    filled = [np.zeros(0, np.int64)]  # chunks of committed slabs that have any
    for slab in store.committed:
        start, stop = store.slab_range(slab)
        rows = start * store.context + np.flatnonzero(store.text("mask", start, stop))
        filled.append(np.unique(rows // chunk_rows))
    chunks = np.concatenate(filled)
    chosen = chunks[_evenly(len(chunks), max(SAMPLED_CHUNKS, -(-wanted // chunk_rows)))]
    each = -(-wanted // max(len(chosen), 1))
    counted = [_counted(store, chunk * chunk_rows, chunk_rows) for chunk in chosen.tolist()]
    return np.concatenate([filled[0], *(rows[_evenly(len(rows), each)] for rows in counted)])[:wanted]


def _counted(store: Store, start: int, rows: int) -> NDArray[np.int64]:
    """Numbers of the rows from `start` on that count."""
    first, last = start // store.context, -(-(start + rows) // store.context)
    numbers = first * store.context + np.flatnonzero(store.text("mask", first, last))
    found: NDArray[np.int64] = numbers[(numbers >= start) & (numbers < start + rows)]
    return found


def _evenly(n: int, wanted: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, wanted)).astype(np.int64))


def _covariance_eigenvalues(centred: torch.Tensor) -> NDArray[np.float64]:
    """Ascending, without the zeros that a matrix of fewer rows than columns has, and those of channels that never move:
    of hundreds of them, as masked neurons are, the float32 solver does not come to an end."""
    centred = centred[:, centred.ne(0).any(dim=0)]
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    values: NDArray[np.float64] = torch.linalg.eigvalsh(gram / len(centred)).double().numpy()
    return np.maximum(values, 0)


def _participation(eigenvalues: NDArray[np.float64], rows: int, width: int) -> float:
    """(Σλ)² / Σλ²; sampling n rows adds (Σλ)² / n to Σλ², which is taken off."""
    squared_trace = float(eigenvalues.sum()) ** 2
    squares = float((eigenvalues**2).sum())
    return min(squared_trace / max(squares - squared_trace / rows, squares / rows), width)


def _int8_loss(x: torch.Tensor, ordinary: float) -> float:
    """Of ordinary rows: massive ones carry most of the variance, and would hide what the others lose."""
    norms = x.norm(dim=1)
    return error_of(x[norms <= ordinary * norms.median()], "int8")
