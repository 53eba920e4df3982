"""A sample of rows with all that fires there: what products of units with units are estimated from.

Tiles of 32 tokens are taken in the order of a hash of their place, as many as a budget of work allows. A tile of rows
on which k_t units fire costs

    Σ_t 32 k_t + min(k_t², n²/512)          the first for the memory, the second for the product, sparse or dense

so memory is at most WORK/32 firings of 6 bytes (8 above 65,536 units): 96 MiB; 40 MB for 50 firings a row, of which
there are 130,000 rows then. The order is that of the seed alone: samples of two dictionaries hold the same rows, up to
where the smaller one ends. Rows of the split SCORE are left out: what is chosen from a sample may be scored there.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from actpipe.analysis.firings import Firings
from actpipe.analysis.rows import Rows
from actpipe.analysis.splits import SCORE
from actpipe.errors import Mismatch
from actpipe.store.hashing import salt, salted

WORK = 1 << 29
_SALT = 0x74696C65  # "tile"
_EVERYTHING = np.uint64(2**64 - 1)

State = dict[str, NDArray[np.generic]]


class _Chunk(NamedTuple):
    row: NDArray[np.int64]  # [r] numbers in the store, increasing
    key: NDArray[np.uint64]  # [r] hash of the row's tile
    length: NDArray[np.uint32]  # [r] firings of the row
    unit: NDArray[np.uint32] | NDArray[np.uint16]  # [m]
    value: NDArray[np.float32]  # [m]


class Sample(NamedTuple):
    row: NDArray[np.int64]  # [r], increasing
    codes: sp.csr_matrix  # [r, n] float32


class CodeSample:
    def __init__(self, n_units: int, *, seed: int, work: int = WORK) -> None:
        self.n_units, self.seed, self.work = n_units, seed, work
        self.limit = _EVERYTHING  # tiles with keys from here on are not in the sample
        self._unit = np.dtype(np.uint16 if n_units <= 1 << 16 else np.uint32)
        self._chunks: list[_Chunk] = []
        self._held = 0  # cost of what is held

    def update(self, batch: Firings) -> None:
        rows = batch.rows
        key = rows.once(f"code_sample.{self.seed}", lambda: _keys(rows, self.seed))
        kept = key < self.limit
        if not kept.any():
            return
        here = batch.on(kept)
        self._hold(
            _Chunk(
                row=rows.first + np.flatnonzero(kept),
                key=key[kept],
                length=np.diff(batch.starts)[kept].astype(np.uint32),
                unit=here.unit.astype(self._unit),
                value=here.value,
            )
        )

    def merge(self, other: Self) -> None:
        self.limit = min(self.limit, other.limit)
        for chunk in other._chunks:
            self._hold(chunk)

    def state(self) -> State:
        whole = self._cut()._whole()
        return {"limit": np.array(self.limit), **whole._asdict()}

    def restore(self, state: State) -> None:
        self.limit = np.uint64(state["limit"])
        self._chunks, self._held = [], 0
        self._hold(_Chunk(*(state[name] for name in _Chunk._fields)))  # type: ignore[arg-type]

    def sample(self) -> Sample:
        return _matrix(self._cut()._whole(), self.n_units)

    def _hold(self, chunk: _Chunk) -> None:
        if len(chunk.row):
            self._chunks.append(chunk)
            self._held += int(_cost(chunk.length, self.n_units).sum())
        if self._held > 2 * self.work:
            self._cut()

    def _cut(self) -> Self:
        """Down to the budget. The limit depends on the rows and not on the order in which they came."""
        if self._chunks:
            self._chunks = [_below(chunk, self.limit) for chunk in self._chunks]
            key = np.concatenate([chunk.key for chunk in self._chunks])
            cost = np.concatenate([_cost(chunk.length, self.n_units) for chunk in self._chunks])
            self.limit = min(self.limit, _limit(key, cost, self.work))
            self._chunks = [_below(chunk, self.limit) for chunk in self._chunks]
            self._held = int(cost[key < self.limit].sum())
        return self

    def _whole(self) -> _Chunk:
        """Chunks are blocks of consecutive rows, so ordering them orders the rows."""
        empty = _Chunk(*(np.zeros(0, kind) for kind in (np.int64, np.uint64, np.uint32, self._unit, np.float32)))
        ordered = sorted((chunk for chunk in self._chunks if len(chunk.row)), key=lambda chunk: int(chunk.row[0]))
        return _Chunk(*(np.concatenate(arrays) for arrays in zip(empty, *ordered, strict=True)))


def in_common(first: CodeSample, second: CodeSample, *, work: int = WORK) -> tuple[Sample, Sample]:
    """The rows that both samples hold, of those the first tiles with Σ_t k_t k'_t up to `work`: what the product of one
    with the other costs."""
    limit = min(first._cut().limit, second._cut().limit)
    one, other = (_below(each._whole(), limit) for each in (first, second))
    if not np.array_equal(one.row, other.row):
        raise Mismatch(
            f"two samples of codes hold {len(one.row)} and {len(other.row)} rows that are not the same; compare "
            f"members that were analysed on the same text with the same seed"
        )
    limit = _limit(one.key, one.length.astype(np.int64) * other.length, work)
    return _matrix(_below(one, limit), first.n_units), _matrix(_below(other, limit), second.n_units)


def _limit(key: NDArray[np.uint64], cost: NDArray[np.int64], work: int) -> np.uint64:
    """Key of the first tile with which the cost of all with smaller keys and its own is beyond `work`."""
    order = np.argsort(key, kind="stable")
    beyond = np.flatnonzero(np.cumsum(cost[order]) > work)
    return np.uint64(key[order[beyond[0]]]) if len(beyond) else _EVERYTHING


def _keys(rows: Rows, seed: int) -> NDArray[np.uint64]:
    """[B]; rows that are not for the sample get the key that is never below a limit."""
    word = salt(_SALT, seed)
    key = salted(rows.tile, word)
    key = np.minimum(key, _EVERYTHING - np.uint64(1))
    left_out = ~rows.counted | (rows.split == SCORE)
    key[left_out] = _EVERYTHING
    return key


def _cost(length: NDArray[np.uint32], n_units: int) -> NDArray[np.int64]:
    k = length.astype(np.int64)
    cost: NDArray[np.int64] = 32 * k + np.minimum(k * k, n_units * n_units // 512)
    return cost


def _below(chunk: _Chunk, limit: np.uint64) -> _Chunk:
    kept = chunk.key < limit
    if kept.all():
        return chunk
    here = np.repeat(kept, chunk.length)
    return _Chunk(chunk.row[kept], chunk.key[kept], chunk.length[kept], chunk.unit[here], chunk.value[here])


def _matrix(chunk: _Chunk, n_units: int) -> Sample:
    starts = np.concatenate([[0], np.cumsum(chunk.length, dtype=np.int64)])
    codes = sp.csr_matrix((chunk.value, chunk.unit.astype(np.int32), starts), shape=(len(chunk.row), n_units))
    return Sample(chunk.row, codes)
