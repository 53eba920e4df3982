"""Tables of scores beside those of tests/report_tables.py, as docs/reference/score-tables.md defines them.

Numbers are drawn, not measured; what a test asks about is planted and named here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .report_text import HOSTILE, Corpus

METRICS = ("rules_f1_std", "rules_tpr", "rules_fpr", "concept_f1_std", "ms_c", "ms_beyond_words", "vendi")
RULE = {"otherwise": 0.01, "fires_from": 0.5}
JUDGE = "rules:executed"
# Feature → what is planted: its rules, and a window in which they say that it fires and it does not.
MISTAKEN = 1
I32, F32 = pa.list_(pa.int32()), pa.list_(pa.float32())


def write_scores(out: Path, corpus: Corpus) -> None:
    units = pq.read_table(out / "parquet" / "units.parquet").to_pylist()
    members = list(dict.fromkeys(unit["member"] for unit in units))
    generator = np.random.default_rng(0)
    alive = [unit for unit in units if unit["alive"]]
    tables: dict[str, list[dict[str, Any]]] = {
        "scores": [row for unit in alive for row in _scores(unit, generator)] + _controls(units, members, generator),
        "means": [_mean(member, metric, i) for i, member in enumerate(members) for metric in _HEADLINE],
        "explanations": [_explanation(unit, corpus) for unit in alive],
        "concepts": [_concept(unit) for unit in alive],
        "samples": [row for unit in alive for row in _samples(unit, corpus)],
        "interference": [_interference(unit) for unit in alive],
        "neighbours": [_neighbour(unit, kind) for unit in alive for kind in ("direction", "cofiring")],
        "positions": [_key(unit) | {"bins": list(range(16))} for unit in alive],
        "judgements": [row for unit in alive if unit["feature"] < 20 for row in _judgements(unit)],
        "effects": [_effect(unit) for unit in alive if unit["feature"] < 10],
        "seeds": [_seeds(unit) for unit in alive if unit["member"] == members[0]],
        "seed_matches": [_match(unit, members[1]) for unit in alive if unit["member"] == members[0]],
        "seed_pairs": [_pair(members[0], members[1])],
    }
    for name, rows in tables.items():
        types = {"tokens": I32, "activations": F32, "bins": pa.list_(pa.int64()), "lowest": pa.list_(pa.float64())}
        arrays = [pa.array([row[column] for row in rows], type=types.get(column)) for column in rows[0]]
        pq.write_table(pa.table(dict(zip(rows[0], arrays, strict=True))), out / "parquet" / f"{name}.parquet")
    judges = {JUDGE: {"verdict": "passed", "certified": True, "grade": {"exact": 1.0}}}
    (out / "judges.json").write_text(json.dumps({"format": "actpipe-judges", "version": 1, "judges": judges}))
    summary = json.loads((out / "summary.json").read_text())
    (out / "summary.json").write_text(json.dumps(summary | {"health": {summary["hooks"][0]: _HEALTH}}))


_HEADLINE = ("rules_f1_std", "concept_f1_std", "ms_c", "ms_beyond_words")
_HEALTH = {
    "width": 576,
    "gamma": 1.03,
    "norms": {"quantiles": {"0.5": 131.0}, "longest": 477.0},
    "spread": {"participation": 30.3, "directions": 215},
    "sinks": {"rows": 57, "energy": 0.023},
    "advice": ["The mean is 1.03 times as long as the spread (γ)."],
}


def _key(unit: dict[str, Any]) -> dict[str, Any]:
    return {"member": unit["member"], "feature": unit["feature"], "sign": 1}


def _scores(unit: dict[str, Any], generator: np.random.Generator) -> list[dict[str, Any]]:
    values = dict(zip(METRICS, generator.random(len(METRICS)), strict=True))
    hit, false = 0.01 * values["rules_tpr"], 0.99 * values["rules_fpr"] * 0.01
    found = values | {"rules_fpr": 0.01 * values["rules_fpr"], "rules_f1_std": 2 * hit / (hit + false + 0.01)}
    found["sample_documents"] = 40.0
    return [_key(unit) | {"control": None, "metric": metric, "value": float(v)} for metric, v in found.items()]


def _controls(units: list[dict[str, Any]], members: list[str], generator: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for member in members:
        own = [unit for unit in units if unit["member"] == member and unit["alive"]]
        for control in ("random_directions", "shuffled", "untrained_twin"):
            for unit in own[:40]:
                value = float(0.1 * generator.random())
                rows += [_key(unit) | {"control": control, "metric": metric, "value": value} for metric in METRICS]
    return rows


def _mean(member: str, metric: str, i: int) -> dict[str, Any]:
    """Rules are better than control in all but the first dictionary, MonoSemanticity in none."""
    better = i > 0 and not metric.startswith("ms")
    delta = 0.2 if better else 0.0
    return {
        "member": member,
        "configuration": "{}",
        "level": "member",
        "metric": metric,
        "weighting": "units",
        "stratum": "all",
        "mean": 0.3,
        "low": 0.28,
        "high": 0.32,
        "n": 50,
        "undefined": 0,
        "seeds": 1,
        "few_seeds": True,
        "control": "random_directions",
        "control_mean": 0.3 - delta,
        "delta": delta,
        "delta_low": delta - 0.01,
        "delta_high": delta + 0.01,
        "verdict": "better" if better else "equivalent",
    }


def _explanation(unit: dict[str, Any], corpus: Corpus) -> dict[str, Any]:
    token = unit["top_tokens"][0]
    rules = RULE | {"rules": [{"match": [[token]], "weight": 1.0}]}
    text = f"fires on `{corpus.vocabulary[token]}` (60 %)"
    return _key(unit) | {
        "source": "rules",
        "text": text.replace("\ud83d", "?"),
        "rule": json.dumps(rules),
        "budget": 16,
    }


def _concept(unit: dict[str, Any]) -> dict[str, Any]:
    return _key(unit) | {"rank": 0, "concept": "form/plural", "family": "form", "f1_std": 0.25}


def _samples(unit: dict[str, Any], corpus: Corpus) -> list[dict[str, Any]]:
    token, hostile = unit["top_tokens"][0], len(corpus.vocabulary) - len(HOSTILE)
    other = next(t for t in range(hostile) if t != token)
    half = float(unit["max"]) / 2
    windows = {
        **{f"decile_{i}": ([other, token, other], [0.0, half, 0.0]) for i in range(10)},
        "uniform": ([other] * 3, [0.0] * 3),
        "near_miss": ([hostile + unit["feature"] % len(HOSTILE), other, other], [0.0] * 3),
    }
    rows = [(name, tokens, acts) for name, (tokens, acts) in windows.items()]
    if unit["feature"] == MISTAKEN:
        rows.insert(10, ("uniform", [other, token, other], [0.0] * 3))
    return [
        _key(unit) | {"stratum": name, "document": 7, "tokens": tokens, "activations": acts, "peak": 1}
        for name, tokens, acts in rows
    ]


def _interference(unit: dict[str, Any]) -> dict[str, Any]:
    edges = np.linspace(0.1, 0.9, 10) * float(unit["max"])
    return _key(unit) | {"lowest": edges.tolist(), "recall": [0.5] * 10, "firings": [5] * 10}


def _neighbour(unit: dict[str, Any], kind: str) -> dict[str, Any]:
    return _key(unit) | {"kind": kind, "rank": 0, "other_feature": unit["neighbour"], "other_sign": 1, "value": 0.31}


def _judgements(unit: dict[str, Any]) -> list[dict[str, Any]]:
    asked = [("detection", "balanced_accuracy", 0.8), ("discrimination", "accuracy", 0.6)]
    return [
        _key(unit)
        | {"protocol": protocol, "judge": JUDGE, "source": "rules", "control": None, "metric": metric, "value": value}
        | {"low": 0.4, "high": 0.9, "n": 20, "failed": 0, "exam_grade": 1.0, "certified": True}
        for protocol, metric, value in asked
    ]


def _effect(unit: dict[str, Any]) -> dict[str, Any]:
    return _key(unit) | {"metric": "kl_zero", "value": 0.0123, "low": 0.01, "high": 0.02, "n": 30}


def _seeds(unit: dict[str, Any]) -> dict[str, Any]:
    found = {"seeds": 1, "by_direction": unit["feature"] % 2, "by_direction_chance": 0.001}
    return _key(unit) | found | {"seeds_by_function": 0, "by_function": None, "by_function_chance": None}


def _match(unit: dict[str, Any], other: str) -> dict[str, Any]:
    link = {"other": other, "other_feature": unit["feature"], "other_sign": 1, "by": "direction"}
    return _key(unit) | link | {"cosine": 0.91, "correlation": None}


def _pair(member: str, other: str) -> dict[str, Any]:
    names = ("mmcs", "functional")
    found = {f"{name}_forward": 0.6 for name in names} | {"chance_forward": 0.1, "functional_chance_forward": 0.05}
    found |= {"mcc": 0.5, "mcc_chance": 0.1, "shared_share": 0.4, "shared_chance": 0.001}
    return {"member": member, "other": other} | found | {"functional_shared": 0.3, "functional_shared_chance": 0.01}
