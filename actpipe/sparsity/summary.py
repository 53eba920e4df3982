"""sparsity.json: what was measured, with what, and the numbers that belong to no single hook."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import actpipe

from . import bootstrap
from .config import FORMAT, VERSION, SparsityConfig
from .measures import measures
from .parts import Parts
from .reading import notes, sentences
from .subjects import is_gated, write_norms
from .tables import RATE_EDGES, Measured, Row, mean_over_hooks
from .texts import Text


def summarize(
    config: SparsityConfig, parts: Parts, texts: list[Text], measured: list[Measured], kt: list[Row]
) -> dict[str, Any]:
    means = _means(measured, config)
    tasks = [_task(parts, text) for text in texts]
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "model": _model(parts),
        "arms": list(dict.fromkeys(each.arm for each in measured)),
        "tasks": tasks,
        "overall": measured[0].task,
        "context": config.context,
        "packing": parts.policy.describe(),
        "measures": [asdict(each) for each in measures(config.eps)],
        "eps": list(config.eps),
        "rate_edges": [float(f"{edge:.6g}") for edge in RATE_EDGES],
        "interval": {"level": bootstrap.LEVEL, "replicates": bootstrap.REPLICATES, "of": "documents"},
        "hooks": _hooks(parts, measured),
        "means": means,
        "kt": _kt(config, kt),
        "reading": sentences(means, parts.subjects, gated=_gated(parts), t5=parts.model.config.model_type == "t5"),
        "notes": notes(tasks, means, untrained=config.untrained),
        "config": {k: v if isinstance(v, int | float | str | None) else _listed(v) for k, v in asdict(config).items()},
        "inputs": parts.digest,
    }


def _means(measured: list[Measured], config: SparsityConfig) -> list[Row]:
    """One row for each arm, task and stack of layers."""
    groups: dict[tuple[str, str, str], list[Measured]] = {}
    for each in measured:
        groups.setdefault((each.arm, each.task, each.subject.stack), []).append(each)
    known = measures(config.eps)
    return [
        {
            "arm": arm,
            "task": task,
            "overall": task == measured[0].task,
            "stack": stack,
            "firing": group[0].firing,
            **mean_over_hooks(group, known),
        }
        for (arm, task, stack), group in groups.items()
    ]


def _model(parts: Parts) -> dict[str, Any]:
    model = parts.model
    return {
        "name": model.name,
        "kind": model.kind,
        "type": model.config.model_type,
        "fingerprint": model.fingerprint(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "parameters": sum(weight.numel() for weight in model.module.parameters()),
        "gated": _gated(parts),
    }


def _gated(parts: Parts) -> bool:
    return any(is_gated(parts.model, subject.site) for subject in parts.subjects if subject.kind == "neuron")


def _task(parts: Parts, text: Text) -> dict[str, Any]:
    corpus = next(task.corpus for task in parts.tasks if task.name == text.task)
    return {
        "name": text.task,
        "dataset": corpus.name,
        "fingerprint": corpus.fingerprint(),
        "documents": text.documents,
        "sequences": text.spool.sequences,
        "tokens": text.tokens,
    }


def _hooks(parts: Parts, measured: list[Measured]) -> list[Row]:
    firing = {each.subject.hook: each.firing for each in measured}
    return [
        {
            "hook": subject.hook,
            "stack": subject.stack,
            "layer": subject.layer,
            "kind": subject.kind,
            "activation": subject.activation,
            "units": subject.site.width,
            "firing": firing[subject.hook],
            "weighted": write_norms(parts.model, subject.site) is not None,
        }
        for subject in parts.subjects
    ]


def _kt(config: SparsityConfig, rows: list[Row]) -> dict[str, Any] | None:
    if not rows:
        return None
    return {
        "words": list(config.words),
        "label": config.kt_label,
        "from": None if config.kt_sentences is None else config.kt_sentences.name,
        "rule": config.kt_rule,
        "arms": rows,
    }


def _versions() -> dict[str, str]:
    return {
        "actpipe": actpipe.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value)
