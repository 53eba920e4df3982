"""What the passes gathered, as Arrow tables of one member each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .activity import Activity
from .directions import Logits
from .member_pass import ControlPass, MemberPass
from .schemas import COLUMNS, SCORES, schema
from .token_scores import TokenScores, token_scores, top_tokens


def units_table(
    found: MemberPass,
    logits: Logits | None,
    neighbours: tuple[NDArray[np.int64], NDArray[np.float32]] | None,
) -> pa.Table:
    n, activity, pairs = found.units.n, found.activity, found.token_sums.pairs()
    moments = activity.moments()
    scores = token_scores(pairs, activity, found.corpus.token_counts)
    tokens, shares = top_tokens(pairs, n)
    nearest = neighbours or (None, None)
    raised = logits or (None, None, None, None)
    return _table(
        "units",
        n,
        {
            "member": found.units.name,
            "feature": found.units.feature,
            "sign": found.units.sign,
            "alive": activity.count > 0,
            "count": activity.count,
            "density": activity.density,
            **{f"{name}_active": values for name, values in moments.items()},
            "max": np.where(activity.count > 0, activity.max, np.nan),
            **_scores(scores),
            "distinct_tokens": scores.distinct_tokens,
            "top_tokens": tokens,
            "top_token_share": shares,
            **dict(
                zip(("top_logit_tokens", "top_logits", "bottom_logit_tokens", "bottom_logits"), raised, strict=True)
            ),
            "neighbour": nearest[0],
            "neighbour_cosine": nearest[1],
        },
    )


def examples_table(found: MemberPass) -> pa.Table:
    best, context = found.top_windows.best, found.corpus.store.context
    tokens = found.corpus.store.tokens.reshape(-1)
    spans = list(zip(best.start, best.length, strict=True))
    sequence, position = np.divmod(best.row, context)
    return _table(
        "examples",
        len(best.unit),
        {
            "member": found.units.name,
            "feature": found.units.feature[best.unit],
            "sign": found.units.sign[best.unit],
            "rank": found.top_windows.ranks(),
            "document": best.document,
            "sequence": sequence,
            "position": position,
            "tokens": [tokens[start : start + length] for start, length in spans],
            "activations": [row[:length] for row, (_, length) in zip(best.activations, spans, strict=True)],
            "peak": best.row - best.start,
        },
    )


def histograms_table(found: MemberPass) -> pa.Table:
    counts, units = found.histogram.counts, found.units
    columns = {"member": units.name, "feature": units.feature, "sign": units.sign, "bins": counts}
    return _table("histograms", len(counts), columns)


def controls_table(found: MemberPass, controls: Mapping[str, ControlPass]) -> pa.Table:
    corpus, chosen, member = found.corpus, found.shuffled_units, found.units.name
    tables = []
    for name, each in controls.items():
        own = token_scores(each.token_sums.pairs(), each.activity, corpus.token_counts)
        everything = np.arange(len(each.activity.count))
        tables.append(_control(name, member, everything, everything, each.activity, own))
    shuffled = token_scores(found.shuffled_sums.pairs(), found.activity, corpus.random_token_counts)
    names = found.units.feature[chosen]
    tables.append(_control("shuffled_tokens", member, names, chosen, found.activity, shuffled))
    return pa.concat_tables(tables)


def _control(
    kind: str, member: str, names: NDArray[Any], index: NDArray[np.int64], activity: Activity, scores: TokenScores
) -> pa.Table:
    columns = {name: values[index] for name, values in _scores(scores).items()}
    activities = {"count": activity.count[index], "density": activity.density[index]}
    return _table("controls", len(index), {"member": member, "control": kind, "unit": names, **activities, **columns})


def _scores(scores: TokenScores) -> dict[str, NDArray[np.float64]]:
    return {name: getattr(scores, name) for name in SCORES}


def _table(name: str, length: int, columns: dict[str, Any]) -> pa.Table:
    return pa.table([_column(columns[c], t, length) for c, t in COLUMNS[name].items()], schema=schema(name))


def _column(values: Any, kind: pa.DataType, length: int) -> pa.Array:
    """NaN becomes null; one string stands for a column of it; None is a column of nulls."""
    if values is None:
        return pa.nulls(length, kind)
    if isinstance(values, str):
        return pa.array([values] * length, kind)
    if pa.types.is_list(kind):
        return _lists(list(values), kind)
    if pa.types.is_floating(kind):
        return pa.array(np.asarray(values, kind.to_pandas_dtype()), kind, from_pandas=True)
    return pa.array(np.asarray(values).astype(kind.to_pandas_dtype()), kind)


def _lists(rows: list[NDArray[Any]], kind: pa.DataType) -> pa.Array:
    """Straight from the arrays: through Python lists this would be the slowest part of the analysis."""
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    flat = np.concatenate(rows) if rows else np.zeros(0)
    return pa.ListArray.from_arrays(offsets, pa.array(flat.astype(kind.value_type.to_pandas_dtype())), type=kind)
