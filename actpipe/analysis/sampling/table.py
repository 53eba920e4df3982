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
_TOP, _DECILE, _UNIFORM, _NEAR_MISS = 0, 1, len(STRATA) - 2, len(STRATA) - 1


class Listed(NamedTuple):
    """Windows of one kind; all [m], activations [m, WINDOW]."""

    unit: Ints
    stratum: Ints  # in STRATA
    weight: NDArray[np.float64]  # NaN: none
    population: Ints  # N, −1: none
    sample: Ints  # n
    document: Ints
    row: Ints  # of the peak; where the unit is silent, the one the window is placed around
    start: Ints
    length: Ints
    activations: NDArray[np.float32]


def own(looking: Looking) -> Listed:
    """Top windows and those drawn from the deciles."""
    drawn, top = looking.question.drawn, looking.question.top
    n_drawn, n_top = len(drawn.unit), len(top.unit)
    start, length = np.zeros(n_drawn + n_top, np.int64), np.zeros(n_drawn + n_top, np.int64)
    start[looking.all("window")], length[looking.all("window")] = looking.all("start"), looking.all("length")
    activations = np.zeros((n_drawn + n_top) * WINDOW, np.float32)
    activations[looking.all("place")] = looking.all("value")
    none, one = np.full(n_top, -1), np.bincount(top.unit, minlength=1)[top.unit] if n_top else top.unit
    return Listed(
        np.concatenate([drawn.unit, top.unit]),
        np.concatenate([_DECILE + drawn.decile, np.full(n_top, _TOP)]),
        np.concatenate([drawn.weight, np.full(n_top, np.nan)]),
        np.concatenate([drawn.population, none]),
        np.concatenate([drawn.sample, one]),
        np.concatenate([drawn.document, top.document]),
        np.concatenate([drawn.row, top.row]),
        start,
        length,
        activations.reshape(-1, WINDOW),
    )


def near(found: NearMisses, listed: Listed) -> Listed:
    """`listed`: the windows of the neighbours."""
    m, at = len(found.unit), found.drawn
    return Listed(
        found.unit,
        np.full(m, _NEAR_MISS),
        found.weight,
        found.population,
        found.sample,
        listed.document[at],
        listed.row[at],
        listed.start[at],
        listed.length[at],
        np.zeros((m, WINDOW), np.float32),
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
        np.zeros((m, WINDOW), np.float32),
    )


def sample_table(parts: list[Listed], store: Store) -> pa.Table:
    """Ordered by unit, then as in STRATA, then as drawn."""
    every = Listed._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
    every = Listed._make(column[np.lexsort((every.stratum, every.unit))] for column in every)
    index = np.arange(WINDOW)
    inside = index < every.length[:, None]
    offsets = pa.array(np.concatenate([[0], np.cumsum(every.length)]).astype(np.int32))
    rows = (every.start[:, None] + index)[inside]
    flat: dict[str, NDArray[Any]] = {
        "tokens": store.tokens.reshape(-1)[rows].astype(np.int32),
        "activations": every.activations[inside],
    }
    names = pa.DictionaryArray.from_arrays(pa.array(every.stratum.astype(np.int8)), pa.array(STRATA))
    columns: dict[str, Any] = {
        "unit": every.unit,
        "stratum": names.cast(pa.string()),
        "weight": pa.array(every.weight, from_pandas=True),
        "population": pa.array(every.population, mask=every.population < 0),
        "sample": every.sample,
        "document": every.document,
        "row": every.row,
        "start": every.start,
        "peak": every.row - every.start,
        **{name: pa.ListArray.from_arrays(offsets, pa.array(flat[name])) for name in flat},
    }
    return pa.table([pa.array(columns[f.name]).cast(f.type) for f in SCHEMA], schema=SCHEMA)
