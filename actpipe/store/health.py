"""Numbers about a hook's rows that tell whether dictionaries will train well on them.

What every row went into comes from the arrays of the store; what needs rows at hand from a sample (spread.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .checksums import read_checked
from .health_record import COUNTED, OTHER, HealthRecord, bin_edges, health_key, merge_records, record_width
from .shards import damage
from .spread import Spread, spread_of
from .statistics import Statistics
from .store import Store

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
SINK_RATIO = 10.0  # a row this many times as long as the median row is a sink
NAMED_CHANNELS = 3


@dataclass(frozen=True)
class RowPlace:
    row: int
    sequence: int
    position: int
    document: int
    token: int
    counted: bool


@dataclass(frozen=True)
class LargeValue:
    place: RowPlace
    channel: int
    value: float


@dataclass(frozen=True)
class LongRow:
    place: RowPlace
    norm: float


@dataclass(frozen=True)
class Channel:
    channel: int
    mean: float
    deviation: float
    energy: float
    """share of E‖x‖²"""
    variance: float
    """share of the total variance"""


@dataclass(frozen=True)
class Norms:
    """Of the rows that count, unless said otherwise."""

    mean: float
    quantiles: dict[str, float]
    """"0.5" → the median, from the histogram: good to a few per cent"""
    longest: float
    zeros: int
    """rows too short for the histogram, below 6e-8"""
    others: int
    """rows of tokens that do not count"""
    others_mean: float | None

    @property
    def median(self) -> float:
        return self.quantiles["0.5"]


@dataclass(frozen=True)
class Sinks:
    """Rows that count and are longer than the threshold."""

    threshold: float
    """the first edge of the histogram from ten medians on"""
    rows: int
    energy: float
    """their share of Σ‖x‖² over the rows that count, from the histogram"""
    positions: tuple[int, ...]
    """where the root mean square of the norms is above the threshold"""
    longest: tuple[LongRow, ...]
    """at most 16"""


@dataclass(frozen=True, kw_only=True)
class Health:
    """Of one hook; None where the store does not know it: its format is version 1, or no row counts."""

    hook: str
    width: int
    dtype: str
    rows: int
    documents: int
    gamma: float | None
    """γ = ‖μ‖/‖σ‖"""
    root_mean_square: float
    """√E‖x‖²"""
    slabs: int
    """that are there"""
    constant_channels: int
    channels: tuple[Channel, ...]
    """those with most energy"""
    spread: Spread | None
    norms: Norms | None
    sinks: Sinks | None
    largest: tuple[LargeValue, ...]
    """of the longest rows, those that count first"""

    @property
    def reach(self) -> float | None:
        """The largest magnitude known."""
        return max((abs(each.value) for each in self.largest), default=None)


def examine(store: Store, hook: str) -> Health:
    """Everything that the committed slabs of a store tell about a hook."""
    statistics, record = store.statistics(hook), read_record(store, hook)
    spread = float(statistics.variance.sum())
    return Health(
        hook=hook,
        width=store.hooks[hook],
        dtype=store.dtype,
        slabs=len(store.committed),
        rows=statistics.count,
        documents=_documents(store),
        gamma=float(np.sqrt((statistics.mean**2).sum() / spread)) if spread > 0 else None,
        root_mean_square=float(np.sqrt(statistics.mean_square)),
        constant_channels=int((statistics.variance == 0).sum()) if statistics.count else 0,
        channels=_channels(statistics) if spread > 0 else (),
        spread=spread_of(store, hook, ordinary=SINK_RATIO) if spread > 0 else None,
        norms=_norms(record) if record is not None and record.rows[COUNTED] else None,
        sinks=_sinks(store, record) if record is not None and record.rows[COUNTED] else None,
        largest=_largest(store, record) if record is not None else (),
    )


def read_record(store: Store, hook: str) -> HealthRecord | None:
    """Merged over the committed slabs; None where there are none, or the store is of version 1."""
    parts, shape = [], (2, record_width(store.context))
    for slab in store.committed:
        try:
            parts.append(HealthRecord.unpack(read_checked(store.objects, health_key(hook, slab), "<f8", shape)))
        except FileNotFoundError:
            if store.layout.has_health:
                raise damage(store.layout, hook, slab, "its health record is missing") from None
            return None
    return merge_records(parts)


def _documents(store: Store) -> int:
    """That have a row that counts, in committed slabs."""
    found = np.zeros(0, np.int32)
    for slab in store.committed:
        doc, mask = (store.text(name, *store.slab_range(slab)) for name in ("doc", "mask"))
        found = np.union1d(found, doc[mask])
    return len(found)


def _channels(statistics: Statistics) -> tuple[Channel, ...]:
    energy = statistics.variance + statistics.mean**2
    order = np.argsort(-energy, kind="stable")[:NAMED_CHANNELS]
    return tuple(
        Channel(
            channel=int(i),
            mean=float(statistics.mean[i]),
            deviation=float(np.sqrt(statistics.variance[i])),
            energy=float(energy[i] / energy.sum()),
            variance=float(statistics.variance[i] / statistics.variance.sum()),
        )
        for i in order
    )


def _norms(record: HealthRecord) -> Norms:
    others, longest = int(record.rows[OTHER]), float(record.longest[COUNTED, 0, 1])
    return Norms(
        mean=float(record.norm_sum[COUNTED] / record.rows[COUNTED]),
        quantiles={str(q): min(_quantile(record.histogram[COUNTED], q), longest) for q in QUANTILES},
        longest=longest,
        zeros=int(record.histogram[COUNTED, 0]),
        others=others,
        others_mean=float(record.norm_sum[OTHER] / others) if others else None,
    )


def _quantile(histogram: NDArray[np.float64], share: float) -> float:
    """With the rows of a bin spread evenly over the logarithm of their norms."""
    edges, ends = np.log2(bin_edges()), np.cumsum(histogram)
    target = share * ends[-1]
    i = int(np.searchsorted(ends, target))
    inside = (target - ends[i] + histogram[i]) / histogram[i]
    return float(2.0 ** (edges[i] + inside * (edges[i + 1] - edges[i])))


def _sinks(store: Store, record: HealthRecord) -> Sinks:
    edges = bin_edges()
    first = int(np.searchsorted(edges, SINK_RATIO * _quantile(record.histogram[COUNTED], 0.5)))
    threshold, histogram = float(edges[min(first, len(edges) - 1)]), record.histogram[COUNTED]
    energies = histogram * edges[:-1] * edges[1:]
    rows = np.maximum(record.position_rows[COUNTED], 1)
    mean = np.sqrt(record.position_squares[COUNTED] / rows)
    longest = [(int(row), float(norm)) for row, norm in record.longest[COUNTED] if row >= 0 and norm >= threshold]
    return Sinks(
        threshold=threshold,
        rows=int(histogram[first:].sum()),
        energy=float(energies[first:].sum() / max(energies.sum(), np.finfo(float).tiny)),
        positions=tuple(int(position) for position in np.flatnonzero(mean > threshold)),
        longest=tuple(LongRow(_place(store, row), norm) for row, norm in longest),
    )


def _largest(store: Store, record: HealthRecord) -> tuple[LargeValue, ...]:
    return tuple(
        LargeValue(_place(store, int(row)), int(channel), float(value))
        for row, channel, value in record.largest.reshape(-1, 3)
        if row >= 0
    )


def _place(store: Store, row: int) -> RowPlace:
    sequence, position = divmod(row, store.context)
    return RowPlace(
        row=row,
        sequence=sequence,
        position=position,
        document=int(store.text("doc", sequence, sequence + 1)[0, position]),
        token=int(store.text("tokens", sequence, sequence + 1)[0, position]),
        counted=bool(store.text("mask", sequence, sequence + 1)[0, position]),
    )
