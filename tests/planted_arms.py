"""Reports and measured systems whose scores and losses are given: what a comparison reads, and no more of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HOOK = "blocks.0.hook_resid_post"
METRIC = "rules_f1_std"
CONTROL_UNITS = 64
CONTROLS = pa.schema(
    [
        ("member", pa.string()),
        ("control", pa.string()),
        ("unit", pa.int32()),
        ("density", pa.float64()),
        ("token_r2", pa.float32()),
    ]
)


class Planted:
    """Units of one member: log-normal densities and scores around `level`, which may move with the density."""

    def __init__(
        self,
        *,
        seed: int,
        n: int = 400,
        level: float = 0.5,
        slope: float = 0.0,
        log_density: float = -2.0,
        dead: int = 0,
        control: float = 0.1,
        metric: str = METRIC,
        metrics: Sequence[str] = (),
    ) -> None:
        random = np.random.default_rng(seed)
        place = random.normal(log_density, 0.4, size=n)
        self.metrics, self.dead = tuple(metrics) or (metric,), np.arange(n) < dead
        self.density = np.where(self.dead, 0.0, np.minimum(10**place, 1.0))
        scores = level + slope * (place + 2) + random.normal(0, 0.05, size=n)
        self.scores = np.where(self.dead, np.nan, scores)
        self.token_r2 = np.where(self.dead, np.nan, np.where(random.random(n) < 0.3, 0.9, 0.1))
        self.shuffled = random.normal(control, 0.05, size=CONTROL_UNITS)
        self.random = random.normal(control / 2, 0.05, size=CONTROL_UNITS)
        self.random_density = self.density[~self.dead][:CONTROL_UNITS]


def write_report(folder: Path, members: Sequence[Planted], *, seeds: bool = True, **described: Any) -> Path:
    """Members of one configuration, unless not `seeds`. `described` replaces what is recorded of them."""
    tables = folder / "parquet"
    tables.mkdir(parents=True)
    configured = described.get("configuration", "one")
    names = described.get("names") or [f"member-{i}" for i in range(len(members))]
    pairs = list(zip(names, members, strict=True))
    _write(tables / "members.parquet", [_member(name, i, each, described) for i, (name, each) in enumerate(pairs)])
    _write(tables / "units.parquet", [row for name, each in pairs for row in _units(name, each)])
    _write(tables / "controls.parquet", [row for name, each in pairs for row in _controls(name, each)], CONTROLS)
    _write(tables / "scores.parquet", [row for name, each in pairs for row in _scores(name, each)])
    _write(
        tables / "means.parquet",
        [{"member": name, "configuration": configured if seeds else name, "level": "member"} for name in names],
    )
    store = {"fingerprint": described.get("store", "planted"), "context": 48}
    summary = {
        "format": "actpipe-report",
        "version": 1,
        "model": described.get("model", "planted-model"),
        "dataset": described.get("dataset", "planted"),
        "store": store,
        "tokens": 100_000,
        "documents": 200,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "vocabulary.json").write_text(json.dumps(described.get("vocabulary", ["a", "b", "\ud83d"])))
    return folder


DOCUMENTS = 24


def write_made(
    folder: Path,
    members: Sequence[Planted],
    *,
    loss: float,
    l0: float,
    model: str = "planted",
    parameters: int | None = 1000,
    trained_tokens: int | None = 4000,
    flops: tuple[int | None, int | None] = (None, 0),
    architecture: dict[str, Any] | None = None,
    level: str = "native",
    **described: Any,
) -> Path:
    """A folder as making.py leaves it, of one system with a planted layer for each of `members`."""
    layers = [f"layer {i}" for i in range(len(members))]
    hooks = described.pop("hooks", [f"blocks.{i}.mlp.hook_post" for i in range(len(members))])
    names = [f"native-{hook}" for hook in hooks]
    described |= {"names": names, "model": model, "architecture": "native", "configuration": level, "fvu": None}
    write_report(folder / "report", members, hooks=hooks, **described)
    random = np.random.default_rng(0)  # the same documents for all
    difficulty = random.normal(0, 0.3, size=DOCUMENTS)
    numbers = {"ce": loss + difficulty - difficulty.mean(), "l0_eff": np.full(DOCUMENTS, l0)}
    rows = [
        {"level": level, "dictionary": "0", "place": place, "quantity": quantity, "document": document,
         "total": 100 * value, "count": 100.0}
        for place in (*layers, "all")
        for quantity, values in numbers.items()
        for document, value in enumerate(values.tolist())
    ]  # fmt: skip
    _write(folder / "documents.parquet", rows)
    system = {
        "model": {
            "name": model,
            "fingerprint": model,
            "architecture": architecture or {"name": "gpt", "activation": "relu"},
            "parameters": {"other": parameters, "embedding": 10},
            "trained_tokens": trained_tokens,
            "training_flops": flops[0],
        },
        "systems": [
            {
                "level": level,
                "dictionary": "0",
                "members": dict(zip(layers, names, strict=True)),
                "dictionary_flops": flops[1],
            }
        ],
    }
    (folder / "system.json").write_text(json.dumps(system))
    return folder


def _member(name: str, seed: int, planted: Planted, described: dict[str, Any]) -> dict[str, Any]:
    n = len(planted.density)
    row = {"member": name, "hook": HOOK, "architecture": "relu", "width": n, "units": n, "seed": seed, "fvu": 0.02}
    row |= {"delta_ce": 0.1, "loss_recovered": 0.9, "analysed_l0": float(planted.density.sum())}
    row |= {key: value for key, value in described.items() if key in row}
    return row | ({"hook": described["hooks"][seed], "seed": 0} if "hooks" in described else {})


def _units(name: str, planted: Planted) -> list[dict[str, Any]]:
    return [
        {"member": name, "feature": i, "sign": np.int8(1), "density": density, "count": int(density * 100_000),
         "mean_active": None if density == 0 else 1.0, "token_r2": _known(r2)}
        for i, (density, r2) in enumerate(zip(planted.density.tolist(), planted.token_r2.tolist(), strict=True))
    ]  # fmt: skip


def _controls(name: str, planted: Planted) -> list[dict[str, Any]]:
    return [
        {"member": name, "control": "random_directions", "unit": i, "density": density, "token_r2": 0.1}
        for i, density in enumerate(planted.random_density.tolist())
    ]


def _scores(name: str, planted: Planted) -> list[dict[str, Any]]:
    first_alive = int(planted.dead.sum())
    groups = [
        (None, 0, planted.scores),
        ("shuffled", first_alive, planted.shuffled),
        ("random_directions", 0, planted.random),
    ]
    return [
        {"member": name, "feature": first + i, "sign": np.int8(1), "control": control, "metric": metric,
         "value": _known(value)}
        for metric in planted.metrics
        for control, first, values in groups
        for i, value in enumerate(values.tolist())
    ]  # fmt: skip


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
