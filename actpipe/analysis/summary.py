"""summary.json: what was analysed, with what, and sentences for whoever reads the report."""

from __future__ import annotations

import json
import platform
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import actpipe
from actpipe.harvest.live import LiveStore
from actpipe.store.advice import advice
from actpipe.store.health import examine

from .analysed import Analysed
from .config import AnalyzeConfig
from .corpus import Corpus
from .inputs import Inputs
from .member_pass import CONTROL_UNITS
from .members import CONTROLS, column, control_rows, quantile
from .rows import PEAK, WINDOW
from .schemas import SCORES
from .top_windows import KEEP

FORMAT, VERSION = "actpipe-report", 1
FEW_TOKENS = 100_000  # below, most features fire too rarely for their scores to be steady


class Tally:
    """What summary.json says about the tables, gathered member by member so that no table need be kept."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.undefined: dict[str, Counter[str]] = {"units": Counter(), "controls": Counter()}
        self.controls: dict[str, Any] = {}
        self.notes: dict[str, None] = {}

    def add(self, analysed: Analysed) -> None:
        units, name = analysed.tables["units"], analysed.member.name
        alive = int(np.asarray(units["alive"]).sum())
        self.counts.update(
            members=1, units=len(units), alive=alive, dead=len(units) - alive, examples=len(analysed.tables["examples"])
        )
        for table, counter in self.undefined.items():
            counter.update({score: analysed.tables[table][score].null_count for score in SCORES})
        self.controls[name] = {kind: _quantiles(control_rows(analysed, kind)) for kind in CONTROLS.values()}
        for note in (note for scored in analysed.found.scored.values() for note in scored.notes):
            self.notes[f"{name}: {note}"] = None
        if analysed.tokens_sketched:
            self.notes[
                f"{name} has so many pairs of feature and token that its token scores rest on the heaviest 128 tokens "
                "of each feature; up to 1/129 of a feature's activation is not attributed."
            ] = None
        if analysed.not_finite:
            self.notes[f"{name} gave {analysed.not_finite} activations that are not finite; they count as zero."] = None
        if analysed.logits_missing:
            self.notes[f"No logits for {analysed.member.hook}: {analysed.logits_missing.rstrip('.')}."] = None


def _quantiles(controls: pa.Table) -> dict[str, Any]:
    scores = {
        score: {key: quantile(column(controls, score), q) for key, q in (("median", 0.5), ("p10", 0.1), ("p90", 0.9))}
        for score in ("token_r2", "token_entropy", "density")
    }
    return {**scores, "units": len(controls), "undefined": controls["token_r2"].null_count}


def summarize(
    inputs: Inputs,
    config: AnalyzeConfig,
    corpus: Corpus,
    tally: Tally,
    *,
    digest: str,
    edges: dict[str, list[float]],
    notes: list[str],
) -> dict[str, Any]:
    results = [member.result for member in inputs.members]
    architectures = list(dict.fromkeys(result["architecture"] for result in results))
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "model": inputs.model,
        "dataset": inputs.dataset,
        "hooks": inputs.hooks,
        "store": _store(inputs),
        "run": {
            "architecture": architectures,
            "members": len(results),
            "config": {} if inputs.run is None else inputs.run.description()["config"],
        },
        "tokens": corpus.tokens,
        "documents": corpus.documents,
        "distinct_tokens": corpus.distinct_tokens,
        "config": {"units": config.units, "seed": config.seed},
        "counts": dict(tally.counts),
        "histogram_edges": edges,
        "window": {"length": WINDOW, "peak": PEAK, "per_unit": KEEP},
        "vocabulary": "vocabulary.json",
        "controls": {"per_member": CONTROL_UNITS, "members": tally.controls},
        "health": _health(inputs),
        "undefined": {table: dict(counter) for table, counter in tally.undefined.items()},
        "notes": [*_notes(inputs, config, corpus, tally), *tally.notes, *notes],
        "inputs": digest,
    }


def _versions() -> dict[str, str]:
    return {
        "actpipe": actpipe.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }


def _store(inputs: Inputs) -> dict[str, Any]:
    store = inputs.store
    return {
        "fingerprint": store.fingerprint,
        "rows": store.rows,
        "context": store.context,
        "sequences": store.sequences,
        "dtype": store.dtype,
        "complete": len(inputs.slabs) == store.n_slabs,
    }


def _health(inputs: Inputs) -> dict[str, Any]:
    """Of the rows of each hook, with advice; a store whose rows are computed when asked for knows nothing of them."""
    if isinstance(inputs.store, LiveStore):
        return {}
    found = {hook: examine(inputs.store, hook) for hook in inputs.hooks}
    told = {hook: asdict(health) | {"advice": advice(health)} for hook, health in found.items()}
    plain: dict[str, Any] = json.loads(json.dumps(told))  # as it will be read again: lists for tuples
    return plain


def _notes(inputs: Inputs, config: AnalyzeConfig, corpus: Corpus, tally: Tally) -> list[str]:
    counts, notes = tally.counts, []
    if counts["dead"]:
        notes.append(
            f"{counts['dead']} of {counts['units']} features never fired in {corpus.tokens} tokens (density below "
            f"{3 / corpus.tokens:.1e} at 95 %): they have no token scores and no contexts."
        )
    if corpus.tokens <= corpus.distinct_tokens:
        notes.append("Every token occurs about once, so token R² is not defined. Harvest more text.")
    elif corpus.tokens < FEW_TOKENS:
        notes.append(f"{corpus.tokens} tokens are few: scores of rare features rest on a handful of firings.")
    if config.units is not None:
        notes.append(f"Of each dictionary at most {config.units} features were analysed, drawn at random.")
    if len(inputs.slabs) < inputs.store.n_slabs:
        notes.append(f"The harvest is not finished: {len(inputs.slabs)} of {inputs.store.n_slabs} slabs were analysed.")
    return notes
