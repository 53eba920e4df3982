"""Control shuffled: the unit's own activations on other text, so that whatever it means is gone and its density is not.

Activations keep their order inside tiles of WINDOW rows; tiles change places with others of the same split. What a
feature gives that has nothing to do with the text, at its own density, burstiness and activation sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from actpipe.store.hashing import salt, salted

from .compiled import compiled
from .firings import Firings
from .rows import WINDOW, Rows
from .splits import NAMES

_SALT = 0x73687566  # "shuf"


def shuffled(batch: Firings, units: NDArray[np.int64], seed: int) -> Firings:
    """The firings of `units` (increasing), which are numbered anew, on other tiles."""
    rows = batch.rows
    source = rows.once(f"shuffling.{seed}", lambda: _sources(rows, seed))
    number = np.full(batch.n_units, -1, np.int32)
    number[units] = np.arange(len(units))
    unit, row, value = _moved(source, number, batch.starts, batch.unit, batch.value)
    return Firings(rows=rows, n_units=len(units), unit=unit, row=row, value=value)


@compiled
def _moved(source: Any, number: Any, starts: Any, unit: Any, value: Any) -> Any:
    m = 0
    for u in unit:
        m += number[u] >= 0
    units, rows, values = np.empty(m, np.int32), np.empty(m, np.int32), np.empty(m, np.float32)
    m = 0
    for t in range(len(source)):
        if source[t] >= 0:
            for i in range(starts[source[t]], starts[source[t] + 1]):
                if number[unit[i]] >= 0:
                    units[m], rows[m], values[m] = number[unit[i]], t, value[i]
                    m += 1
    return units[:m].copy(), rows[:m].copy(), values[:m].copy()


def _sources(rows: Rows, seed: int) -> NDArray[np.int64]:
    """[B]: the row that each row has its activations from, −1 where there is none.

    Tiles of one length and split, in order of a hash, each give to the next: none keeps its own. Where a tile is the
    only one of its kind its activations are dropped.
    """
    tile = rows.tile - rows.first
    starts = np.flatnonzero((tile == np.arange(len(tile))) & rows.counted)
    lengths = np.minimum(WINDOW, rows.span_stop[starts] - starts)
    kind = lengths * len(NAMES) + rows.split[starts]
    words = salted((starts + rows.first).astype(np.uint64), salt(_SALT, seed))
    order = np.lexsort((words, kind))
    sorted_kind = kind[order]
    first = np.searchsorted(sorted_kind, sorted_kind)  # of the run of each
    last = np.searchsorted(sorted_kind, sorted_kind, side="right") - 1
    place = np.arange(len(order))
    following = np.where(place == last, first, place + 1)
    target = np.full(len(starts), -1)
    target[order] = np.where(first == last, -1, starts[order[following]])
    counted = np.flatnonzero(rows.counted)
    member = np.searchsorted(starts, tile[counted])
    to = target[member] + counted - starts[member]
    source = np.full(len(tile), -1)
    moves = target[member] >= 0
    source[to[moves]] = counted[moves]
    return source
