"""The windows of text in the panel of a unit: where it fires most, where it fires at all, where it is silent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .predicted import Predictor
from .tables import Row

TOP = 12  # of the 16 in examples.parquet
PER_DECILE, NEAR_MISSES, SILENT = 2, 6, 4
SEARCHED = 24  # silent windows in which false alarms are looked for
FALSE_ALARMS = 6  # silent windows in which the rules say that the unit fires
PERMILLE = 1000  # an activation in the page is this times its share of the unit's largest, rounded up

# Stratum → its heading and what it is, in the order of the panel.
STRATA = {
    "top": ("Strongest", "one a document"),
    "deciles": ("Over its range", "drawn from each tenth of its firings, weakest first"),
    "false_alarms": ("False alarms", "the rules say that it fires, and it does not"),
    "uniform": ("Silent", "drawn from all text in which it does not fire"),
    "near_miss": ("Near misses", "its neighbours fire, it does not"),
}


def by_unit(tables: Iterable[pa.Table]) -> Iterator[tuple[int, list[Row]]]:
    """Number of a unit and its rows, which stand together; only the rows of one table are held in memory."""
    pending: list[Row] = []
    for table in tables:
        for row in rows_of(table):
            if pending and pending[0]["feature"] != row["feature"]:
                yield pending[0]["feature"], pending
                pending = []
            pending.append(row)
    if pending:
        yield pending[0]["feature"], pending


def rows_of(table: pa.Table) -> Iterator[Row]:
    """As `to_pylist`, ten times as fast for lists of numbers."""
    columns = [_values(table[name].combine_chunks()) for name in table.column_names]
    names = table.column_names
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _values(column: pa.Array) -> list[Any]:
    if not pa.types.is_list(column.type):
        return list(column.to_pylist())
    flat = column.flatten().to_numpy().tolist()
    ends = np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy()).tolist()
    return [flat[start:end] for start, end in pairwise([0, *ends])]


def thinned(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Without rows of samples.parquet that no panel shows: of each stratum of a unit the first ones in its order.

    A unit may begin in one table and end in the next.
    """
    last, counted = None, 0  # the unit and stratum of the row before, and how many rows of them there were
    for table in tables:
        if not table.num_rows:
            continue
        strata, features = table["stratum"].combine_chunks(), table["feature"]
        fresh = _fresh(strata, features)
        place = np.arange(table.num_rows)
        rank = place - np.maximum.accumulate(np.where(fresh, place, 0))
        if last == (features[0].as_py(), strata[0].as_py()):
            rank[np.cumsum(fresh) == 1] += counted
        last, counted = (features[-1].as_py(), strata[-1].as_py()), int(rank[-1]) + 1
        yield table.filter(pa.array(rank < _limits(strata)))


def _fresh(strata: pa.Array, features: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Rows at which another stratum or unit begins; the first is one."""
    code, feature = strata.dictionary_encode().indices.to_numpy(), features.to_numpy()
    fresh = np.ones(len(code), dtype=bool)
    fresh[1:] = (code[1:] != code[:-1]) | (feature[1:] != feature[:-1])
    return fresh


def _limits(strata: pa.Array) -> NDArray[np.int64]:
    decile = np.asarray(pc.starts_with(strata, "decile"))
    near, uniform = (np.asarray(pc.equal(strata, name)) for name in ("near_miss", "uniform"))
    return np.select([decile, near, uniform], [PER_DECILE, NEAR_MISSES, SEARCHED], 0)


def shown(top: Sequence[Row], samples: Sequence[Row], predictor: Predictor | None) -> dict[str, list[Row]]:
    """Stratum → windows, each with `predicted`, the indices at which the rules say that the unit fires."""
    groups: dict[str, list[Row]] = {name: [] for name in STRATA}
    groups["top"] = [_predicted(row, predictor) for row in top[:TOP]]
    for row in samples:
        name = "deciles" if row["stratum"].startswith("decile") else row["stratum"]
        groups[name].append(_predicted(row, predictor))
    silent = groups["uniform"]
    groups["false_alarms"] = [row for row in silent if row["predicted"]][:FALSE_ALARMS]
    groups["uniform"] = [row for row in silent if not row["predicted"]][:SILENT]
    return groups


def _predicted(row: Row, predictor: Predictor | None) -> Row:
    row["predicted"] = [] if predictor is None else predictor.fires(row["tokens"])
    return row


def as_shown(row: Row, largest: float) -> list[Any]:
    """[document, peak, tokens, shares, predicted]; shares: activations in PERMILLE of the unit's largest, none where it
    is silent. What is above 0 stays above 0."""
    active = any(row["activations"])
    shares = [-int(-PERMILLE * a // largest) if a > 0 else 0 for a in row["activations"]] if active else []
    return [row["document"], row["peak"], row["tokens"], shares, row["predicted"]]
