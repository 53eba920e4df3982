"""Sums → the tables of docs/reference/sparsity-format.md, as Arrow. What is not defined is null."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actpipe.analysis.multiplicity import benjamini_hochberg

from . import bootstrap
from .accumulators import HookSums
from .bootstrap import Floats
from .kt import KtScores, kt_scores
from .measures import Measure
from .sentences import Active
from .subjects import Firing, Subject

METADATA = {"actpipe.format": "sparsity", "actpipe.version": "1"}
RATE_BINS_PER_DECADE = 5
# Rates at which units fire; the first bin also holds all lower ones but 0, which is counted apart.
RATE_EDGES: Floats = 10.0 ** np.linspace(-5, 0, 5 * RATE_BINS_PER_DECADE + 1)
OFTEN = 0.1  # of the tokens; Li et al. 2022 tell the share of units below it

Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """One hook of one arm (`trained`, `untrained`) on one task, or on all of them."""

    arm: str
    task: str
    subject: Subject
    firing: Firing
    documents: int
    sums: HookSums

    @property
    def place(self) -> Row:
        return {"arm": self.arm, "task": self.task, "hook": self.subject.hook}

    @property
    def fired(self) -> NDArray[np.int64]:
        """[n] tokens at which each unit fires."""
        return self.sums.nonzero if self.firing == "nonzero" else self.sums.strong

    @property
    def rates(self) -> Floats:
        return self.fired / max(self.sums.tokens, 1)


def layer_row(measured: Measured, known: Iterable[Measure]) -> Row:
    sums, rates = measured.sums, measured.rates
    never = int((measured.fired == 0).sum())
    return {
        **measured.place,
        "stack": measured.subject.stack,
        "layer": measured.subject.layer,
        "units": sums.n_units,
        "tokens": sums.tokens,
        "documents": measured.documents,
        **_estimates(known, sums.mean(), sums.replicates(), measured.documents),
        "firing": measured.firing,
        "never_active": never,
        "dead_share": never / sums.n_units,
        "below_10pct": float((rates < OFTEN).mean()),
        "median_rate": float(np.median(rates)),
        "rate_histogram": rate_histogram(rates).tolist(),
    }


def position_rows(measured: Measured, known: Iterable[Measure]) -> list[Row]:
    sums, known = measured.sums, tuple(known)
    means, replicates = sums.means_by_position(), sums.replicates_by_position()
    tokens = sums.counts[:, 0]
    return [
        {
            **measured.place,
            "first": first,
            "last": sums.positions.last(index),
            "tokens": int(tokens[index]),
            **_estimates(known, means[index], replicates[:, index], measured.documents),
        }
        for index, first in enumerate(sums.positions.starts)
        if tokens[index]
    ]


def rate_histogram(rates: Floats) -> NDArray[np.int64]:
    """[25] units by the rate at which they fire; those that never do are in none."""
    firing = rates[rates > 0]
    counts, _ = np.histogram(np.clip(firing, RATE_EDGES[0], RATE_EDGES[-1]), RATE_EDGES)
    return counts.astype(np.int64)


def units_table(measured: Measured) -> pa.Table:
    sums = measured.sums
    return _table(
        {
            **measured.place,
            "unit": np.arange(sums.n_units, dtype=np.int32),
            "fired": measured.fired,
            "rate": measured.rates,
            "nonzero": sums.nonzero,
            "mean_size": sums.size / max(sums.tokens, 1),
            "max_size": sums.largest,
        },
        sums.n_units,
    )


def kt_tables(
    arm: str, active: Mapping[str, Active], *, sentences: int, of_topic: int
) -> tuple[list[pa.Table], KtScores]:
    """One table a hook; q corrects for all units of the arm together. Also the scores of all of them in a row."""
    counts = [np.concatenate([getattr(each, name) for each in active.values()]) for name in ("sentences", "of_topic")]
    scores = kt_scores(*counts, sentences=sentences, of_topic=of_topic)
    columns = {
        "sentences": counts[0],
        "of_topic": counts[1],
        "kt": scores.kt,
        "lift": scores.lift,
        "p": scores.p_fisher,
        "p_binomial": scores.p_binomial,
        "q": benjamini_hochberg(scores.p_fisher),
    }
    tables, start = [], 0
    for hook, each in active.items():
        n = len(each.sentences)
        own = {name: values[start : start + n] for name, values in columns.items()}
        tables.append(_table({"arm": arm, "hook": hook, "unit": np.arange(n, dtype=np.int32), **own}, n))
        start += n
    return tables, scores


def rows_table(rows: list[Row]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    return table.replace_schema_metadata(METADATA)


def mean_over_hooks(measured: list[Measured], known: Iterable[Measure]) -> Row:
    """Every measure as the mean over hooks of one arm and task; a share of units where it counts them.

    A replicate resamples the documents for all hooks at once, so the interval is that of the mean.
    """
    known = tuple(known)
    scale = [np.where([m.unit == "units" for m in known], 1.0 / each.sums.n_units, 1.0) for each in measured]
    mean = np.mean([each.sums.mean() * s for each, s in zip(measured, scale, strict=True)], axis=0)
    replicates = np.mean([each.sums.replicates() * s for each, s in zip(measured, scale, strict=True)], axis=0)
    units, never = (sum(f(each) for each in measured) for f in (lambda e: e.sums.n_units, _never))
    rates = np.concatenate([each.rates for each in measured])
    return {
        "hooks": len(measured),
        "units": units,
        **_estimates(known, mean, replicates, measured[0].documents),
        "never_active": never,
        "below_10pct": float((rates < OFTEN).mean()),
    }


def _never(measured: Measured) -> int:
    return int((measured.fired == 0).sum())


def _estimates(known: Iterable[Measure], mean: Floats, replicates: Floats, documents: int) -> Row:
    """mean [k], replicates [r, k] → {name, name_low, name_high}."""
    found: Row = {}
    for index, measure in enumerate(known):
        low, high = bootstrap.interval(replicates[:, index], documents)
        found |= {
            measure.name: float(mean[index]) if np.isfinite(mean[index]) else None,
            f"{measure.name}_low": low,
            f"{measure.name}_high": high,
        }
    return found


def _table(columns: Row, n: int) -> pa.Table:
    arrays = {
        name: pa.array(np.repeat(values, n) if isinstance(values, str) else values, from_pandas=True)
        for name, values in columns.items()
    }
    return pa.table(arrays).replace_schema_metadata(METADATA)
