"""Control shuffled: the unit's own activations on other text, so that whatever it means is gone and its density is not.

Activations keep their order inside tiles of WINDOW rows; tiles change places with others of the same split. What a
feature gives that has nothing to do with the text, at its own density, burstiness and activation sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from actpipe.store.hashing import salt, salted

from .firings import Firings
from .rows import WINDOW, Rows
from .splits import NAMES

_SALT = 0x73687566  # "shuf"


def shuffled(rows: Rows, batches: Sequence[Firings], units: NDArray[np.int64], seed: int) -> Firings:
    """The firings of `units` (increasing) in `batches`, consecutive blocks that make up `rows`, on other tiles."""
    parts = [_chosen(batch, units) for batch in batches]
    row = np.concatenate(
        [row + batch.rows.first - rows.first for batch, (row, _, _) in zip(batches, parts, strict=True)]
    )
    unit, value = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    target = rows.once(f"shuffling.{seed}", lambda: _targets(rows, seed))[row]
    order = np.lexsort((unit, target))
    order = order[target[order] >= 0]
    return Firings(rows=rows, n_units=len(units), unit=unit[order], row=target[order], value=value[order])


def _chosen(
    batch: Firings, units: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Row, number among `units`, and value of the firings of `units`."""
    number = np.full(batch.n_units, -1)
    number[units] = np.arange(len(units))
    unit = number[batch.unit]
    kept = unit >= 0
    return batch.row[kept], unit[kept], batch.value[kept]


def _targets(rows: Rows, seed: int) -> NDArray[np.int64]:
    """[B]: the row that each row's activations go to, −1 where there is none.

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
    to = np.full(len(tile), -1)
    counted = np.flatnonzero(rows.counted)
    member = np.searchsorted(starts, tile[counted])
    to[counted] = np.where(target[member] < 0, -1, target[member] + counted - starts[member])
    return to
