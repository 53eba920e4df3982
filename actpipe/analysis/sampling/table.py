"""The chosen windows as rows of the table `samples`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actpipe.analysis.rows import WINDOW
from actpipe.store import Store

from .frame import Ints
from .looking import Looking
from .near_misses import NearMisses
from .silent import Silent
from .strata import DECILES

_I32, _I64 = pa.int32(), pa.int64()
SCHEMA = pa.schema(
    {
        "unit": _I32,
        "stratum": pa.string(),
        "weight": pa.float64(),
        "population": _I64,
        "sample": _I32,
        "document": _I32,
        "row": _I64,
        "start": _I64,
        "tokens": pa.list_(pa.field("element", _I32)),
        "activations": pa.list_(pa.field("element", pa.float32())),
        "peak": _I32,
    }
)
STRATA = ("top", *(f"decile_{i}" for i in range(DECILES)), "uniform", "near_miss")
_LINES = 1 << 16  # of the table made together: 40 MB of intermediate arrays
_TOP, _DECILE, _UNIFORM, _NEAR_MISS = 0, 1, len(STRATA) - 2, len(STRATA) - 1


class Listed(NamedTuple):
    """Windows of one kind; all [m]."""

    unit: Ints
    stratum: Ints  # in STRATA
    weight: NDArray[np.float64]  # NaN: none
    population: Ints  # N, −1: none
    sample: Ints  # n
    document: Ints
    row: Ints  # of the peak; where the unit is silent, the one the window is placed around
    start: Ints
    length: Ints
    activations: Ints  # which line of `Own.activations`; −1: the unit is silent

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Listed:
        return Listed._make(column[index] for column in self)


class Own(NamedTuple):
    """Windows drawn from the deciles, then the top ones; of listed units with their activations."""

    windows: Listed
    activations: NDArray[np.float32]  # [windows of listed units, WINDOW]


def own(looking: Looking) -> Own:
    asked = looking.question
    drawn, top = asked.drawn, asked.top
    n_drawn, n_top = len(drawn.unit), len(top.unit)
    start, length = np.zeros(n_drawn + n_top, np.int64), np.zeros(n_drawn + n_top, np.int64)
    start[looking.all("window")], length[looking.all("window")] = looking.all("start"), looking.all("length")
    unit = np.concatenate([drawn.unit, top.unit])
    listed = asked.listed[unit]
    line = np.cumsum(listed) - 1
    activations = np.zeros((int(listed.sum()), WINDOW), np.float32)
    number, index = np.divmod(looking.all("place"), WINDOW)
    activations[line[number], index] = looking.all("value")
    one = np.bincount(top.unit, minlength=1)[top.unit] if n_top else top.unit
    windows = Listed(
        unit,
        np.concatenate([_DECILE + drawn.decile, np.full(n_top, _TOP)]),
        np.concatenate([drawn.weight, np.full(n_top, np.nan)]),
        np.concatenate([drawn.population, np.full(n_top, -1)]),
        np.concatenate([drawn.sample, one]),
        np.concatenate([drawn.document, top.document]),
        np.concatenate([drawn.row, top.row]),
        start,
        length,
        np.where(listed, line, -1),
    )
    return Own(windows, activations)


def near(found: NearMisses, windows: Listed) -> Listed:
    """`windows`: of the neighbours."""
    m, at = len(found.unit), found.drawn
    return Listed(
        found.unit,
        np.full(m, _NEAR_MISS),
        found.weight,
        found.population,
        found.sample,
        windows.document[at],
        windows.row[at],
        windows.start[at],
        windows.length[at],
        np.full(m, -1),
    )


def quiet(found: Silent, looking: Looking) -> Listed:
    """Shared windows."""
    shared, at, m = looking.question.shared, found.window, len(found.unit)
    return Listed(
        found.unit,
        np.full(m, _UNIFORM),
        found.weight,
        found.population,
        found.sample,
        shared.document[at],
        shared.peak[at],
        shared.start[at],
        shared.length[at],
        np.full(m, -1),
    )


def sample_table(parts: list[Listed], activations: NDArray[np.float32], store: Store) -> pa.Table:
    """Ordered by unit, then as in STRATA, then as drawn."""
    every = Listed._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
    every = every.take(np.lexsort((every.stratum, every.unit)))
    tokens = store.tokens.reshape(-1)
    borders = range(0, max(len(every.unit), 1), _LINES)
    return pa.concat_tables([_lines(every.take(slice(at, at + _LINES)), activations, tokens) for at in borders])


def _lines(some: Listed, activations: NDArray[np.float32], tokens: NDArray[np.int32]) -> pa.Table:
    index = np.arange(WINDOW)
    inside = index < some.length[:, None]
    values = np.zeros(inside.shape, np.float32)
    fires = some.activations >= 0
    values[fires] = activations[some.activations[fires]]
    offsets = pa.array(np.concatenate([[0], np.cumsum(some.length)]).astype(np.int32))
    lists = {"tokens": tokens[(some.start[:, None] + index)[inside]].astype(np.int32), "activations": values[inside]}
    names = pa.DictionaryArray.from_arrays(pa.array(some.stratum.astype(np.int8)), pa.array(STRATA))
    columns: dict[str, Any] = {
        "unit": some.unit,
        "stratum": names.cast(pa.string()),
        "weight": pa.array(some.weight, from_pandas=True),
        "population": pa.array(some.population, mask=some.population < 0),
        "sample": some.sample,
        "document": some.document,
        "row": some.row,
        "start": some.start,
        "peak": some.row - some.start,
        **{name: pa.ListArray.from_arrays(offsets, pa.array(flat)) for name, flat in lists.items()},
    }
    return pa.table([pa.array(columns[f.name]).cast(f.type) for f in SCHEMA], schema=SCHEMA)
