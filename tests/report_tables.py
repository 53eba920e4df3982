"""Synthetic tables of docs/reference/report-format.md: planted features over English text, scored as written there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .report_text import Corpus, documents

HOOK = "blocks.9.hook_resid_post"
EDGES = [float(2.0 ** (6 - (64 - i) / 4)) for i in range(65)]
WINDOW, PEAK, PER_UNIT = 32, 23, 16
I32 = pa.list_(pa.int32())
F32 = pa.list_(pa.float32())
LISTS = dict.fromkeys(("top_tokens", "top_logit_tokens", "bottom_logit_tokens", "tokens"), I32)
LISTS |= dict.fromkeys(("top_token_share", "top_logits", "bottom_logits", "activations"), F32)
LISTS |= {"bins": pa.list_(pa.int64())}


def write_tables(
    out: Path, *, features: int = 300, texts: list[str] | None = None, seed: int = 0, name: str = "{:03d}-relu-l1-{}"
) -> Corpus:
    """Five members of `features` features each, everything the format asks for."""
    corpus = Corpus(documents(120, seed) if texts is None else texts)
    generator = np.random.default_rng(seed)
    tables: dict[str, list[dict[str, Any]]] = {
        table: [] for table in ("members", "units", "examples", "histograms", "controls")
    }
    for index, l1 in enumerate((0.5, 1.0, 2.0, 4.0, 8.0)):
        member = name.format(index, l1)
        acts = _activations(corpus, features, sharpness=index, generator=generator)
        units = [_unit(corpus, member, i, column, generator) for i, column in enumerate(acts.T)]
        tables["units"] += units
        tables["examples"] += [row for i, column in enumerate(acts.T) for row in _examples(corpus, member, i, column)]
        tables["histograms"] += [_histogram(member, i, column) for i, column in enumerate(acts.T)]
        controls = _controls(corpus, member, acts, generator)
        tables["controls"] += controls
        tables["members"].append(_member(member, index, l1, units, controls))
    for table, rows in tables.items():
        _write(out / "parquet" / f"{table}.parquet", rows)
    (out / "summary.json").write_text(json.dumps(_summary(corpus, tables)))
    (out / "vocabulary.json").write_text(json.dumps(corpus.vocabulary))
    return corpus


def _activations(corpus: Corpus, features: int, *, sharpness: int, generator: np.random.Generator) -> np.ndarray:
    """[rows, features]: token, word-family, after-token, topic, dense and dead features, in turn."""
    n = corpus.tokens.size
    acts = np.zeros((n, features))
    common = np.argsort(-corpus.counts)
    for i in range(features):
        pick = int(common[int(generator.integers(0, min(len(common) - 1, 400)))])
        fires = np.zeros(n, dtype=bool)
        kind = (
            "token",
            "family",
            "after",
            "topic",
            "token",
            "after",
            "dense" if i % 5 == 0 else "topic",
            "dead" if i % 3 else "topic",
        )[i % 8]
        if kind == "token":
            fires = corpus.tokens == pick
        elif kind == "family":
            stem = corpus.vocabulary[pick].strip()[:2]
            family = np.array([text.strip().startswith(stem) for text in corpus.vocabulary])
            fires = family[corpus.tokens] if stem else corpus.tokens == pick
        elif kind == "after":
            fires[1:] = corpus.tokens[:-1] == pick
        elif kind == "topic":
            for start in generator.integers(0, n, size=max(2, n // 1500)):
                fires[start : start + int(generator.integers(3, 14))] = True
        elif kind == "dense":
            fires = generator.random(n) < 0.16
        if kind != "dead":
            fires |= generator.random(n) < 0.012 / (1 + 2 * sharpness)
        acts[:, i] = np.where(fires, generator.lognormal(generator.normal(0.8, 0.5), 0.55, size=n), 0)
    return acts


def _scores(corpus: Corpus, column: np.ndarray) -> dict[str, float | None]:
    n, total = corpus.tokens.size, column.sum()
    if total == 0:
        return dict.fromkeys(("token_entropy", "effective_tokens", "purity", "specificity", "token_r2", "token_r2_raw"))
    mass = np.bincount(corpus.tokens, weights=column, minlength=len(corpus.vocabulary))
    seen = mass > 0
    p = mass[seen] / total
    entropy = min(
        -(p * np.log2(p)).sum() + (seen.sum() - 1) / (2 * (column > 0).sum() * np.log(2)), np.log2(corpus.distinct)
    )
    raw = ((mass[seen] ** 2 / corpus.counts[seen]).sum() - total**2 / n) / ((column**2).sum() - total**2 / n)
    corrected = 1 - (1 - raw) * (n - 1) / (n - corpus.distinct)
    return {
        "token_entropy": float(entropy),
        "effective_tokens": float(2**entropy),
        "purity": float(p.max()),
        "specificity": float((p * np.log2(p * n / corpus.counts[seen])).sum()),
        "token_r2": float(corrected),
        "token_r2_raw": float(raw),
    }


def _unit(
    corpus: Corpus, member: str, feature: int, column: np.ndarray, generator: np.random.Generator
) -> dict[str, Any]:
    active = column[column > 0]
    mass = np.bincount(corpus.tokens, weights=column, minlength=len(corpus.vocabulary))
    top = np.argsort(-mass)[:10][: int((mass > 0).sum())]
    spread = active.std() if active.size else 0
    standard = (active - active.mean()) / spread if spread else np.zeros(1)
    logits = [generator.choice(len(corpus.vocabulary), size=10, replace=False).tolist() for _ in range(2)]
    sizes = [np.sort(generator.gamma(3, 0.2, size=10))[::-1] for _ in range(2)]
    return {
        "member": member,
        "feature": feature,
        "sign": 1,
        "alive": bool(active.size),
        "count": int(active.size),
        "density": active.size / column.size,
        "mean_active": float(active.mean()) if active.size else None,
        "std_active": float(spread) if active.size else None,
        "skew_active": float((standard**3).mean()) if active.size else None,
        "kurtosis_active": float((standard**4).mean() - 3) if active.size else None,
        "max": float(active.max()) if active.size else None,
        "distinct_tokens": int((mass > 0).sum()),
        "top_tokens": top.tolist(),
        "top_token_share": (mass[top] / max(mass.sum(), 1e-9)).tolist(),
        "top_logit_tokens": logits[0],
        "top_logits": sizes[0].tolist(),
        "bottom_logit_tokens": logits[1],
        "bottom_logits": (-sizes[1]).tolist(),
        "neighbour": (feature + 8) % 40,
        "neighbour_cosine": 0.31,
        **_scores(corpus, column),
    }


def _examples(corpus: Corpus, member: str, feature: int, column: np.ndarray) -> list[dict[str, Any]]:
    peaks = [
        start + int(column[start:stop].argmax())
        for start, stop in zip(corpus.starts[:-1], corpus.starts[1:], strict=True)
    ]
    peaks = sorted((row for row in peaks if column[row] > 0), key=lambda row: (-column[row], row))[:PER_UNIT]
    rows = []
    for rank, row in enumerate(peaks):
        low, high = corpus.starts[corpus.document[row]], corpus.starts[corpus.document[row] + 1]
        start = max(low, min(row - PEAK, high - WINDOW))
        stop = min(high, start + WINDOW)
        place = {
            "document": int(corpus.document[row]),
            "sequence": row // 128,
            "position": row % 128,
            "peak": int(row - start),
        }
        window = {"tokens": corpus.tokens[start:stop].tolist(), "activations": column[start:stop].tolist()}
        rows.append({"member": member, "feature": feature, "sign": 1, "rank": rank, **place, **window})
    return rows


def _histogram(member: str, feature: int, column: np.ndarray) -> dict[str, Any]:
    active = np.clip(column[column > 0], EDGES[0], EDGES[-1])
    return {"member": member, "feature": feature, "sign": 1, "bins": np.histogram(active, EDGES)[0].tolist()}


def _controls(corpus: Corpus, member: str, acts: np.ndarray, generator: np.random.Generator) -> list[dict[str, Any]]:
    alive = np.flatnonzero((acts > 0).any(axis=0))[:64]
    embedding = generator.normal(size=len(corpus.vocabulary))
    rows = []
    for unit in alive:
        column = acts[:, unit]
        noise = generator.normal(size=column.size) + 0.6 * generator.permutation(embedding)[corpus.tokens]
        random = np.maximum(0, noise - np.quantile(noise, 1 - max((column > 0).mean(), 2 / column.size)))
        for control, values in (("random_directions", random), ("shuffled_tokens", generator.permutation(column))):
            count = int((values > 0).sum())
            rows.append(
                {
                    "member": member,
                    "control": control,
                    "unit": int(unit),
                    "count": count,
                    "density": count / column.size,
                    **_scores(corpus, values),
                }
            )
    return rows


def _median(rows: list[dict[str, Any]], score: str, quantile: float = 0.5) -> float | None:
    values = [row[score] for row in rows if row[score] is not None]
    return float(np.quantile(values, quantile)) if values else None


def _member(
    member: str, index: int, l1: float, units: list[dict[str, Any]], controls: list[dict[str, Any]]
) -> dict[str, Any]:
    by_control = {
        kind: [row for row in controls if row["control"] == kind] for kind in ("random_directions", "shuffled_tokens")
    }
    alive = sum(unit["alive"] for unit in units)
    return {
        "member": member,
        "path": f"members/{member}",
        "hook": HOOK,
        "architecture": "relu",
        "width": len(units),
        "units": len(units),
        "l1": l1,
        "k": None,
        "seed": 0,
        "l0": 92 / (index + 1) ** 1.4,
        "fvu": 0.08 + 0.045 * index**1.3,
        "dead": 1 - alive / len(units),
        "delta_ce": 0.05 * 1.9**index,
        "loss_recovered": 0.995 - 0.02 * index**1.5,
        "rows": 500_000,
        "rows_per_second": 21_000.0,
        "analysed_l0": sum(unit["density"] for unit in units),
        "alive_units": alive,
        "dead_units": len(units) - alive,
        "dense_units": sum(unit["density"] > 0.1 for unit in units),
        "token_units": sum((unit["token_r2"] or 0) > 0.8 for unit in units),
        **{
            f"median_{s}": _median(units, s)
            for s in ("token_r2", "token_entropy", "effective_tokens", "purity", "density")
        },
        **{f"random_{s}": _median(by_control["random_directions"], s) for s in ("token_r2", "token_entropy")},
        **{f"shuffled_{s}": _median(by_control["shuffled_tokens"], s) for s in ("token_r2", "token_entropy")},
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(rows[0])
    arrays = [pa.array([row[name] for row in rows], type=LISTS.get(name)) for name in names]
    pq.write_table(pa.table(dict(zip(names, arrays, strict=True))), path, compression="zstd", row_group_size=512)


def _summary(corpus: Corpus, tables: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    members = [row["member"] for row in tables["members"]]
    alive = sum(row["alive"] for row in tables["units"])
    n = int(corpus.tokens.size)
    quantiles = {
        member: {
            control: {
                score: {
                    key: _median(
                        [r for r in tables["controls"] if r["member"] == member and r["control"] == control], score, q
                    )
                    for key, q in (("median", 0.5), ("p10", 0.1), ("p90", 0.9))
                }
                for score in ("token_r2", "token_entropy", "density")
            }
            for control in ("random_directions", "shuffled_tokens")
        }
        for member in members
    }
    return {
        "format": "actpipe-report",
        "version": 1,
        "created": "2026-11-21T12:00:00+00:00",
        "versions": {"actpipe": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6", "pyarrow": "26.0.1"},
        "model": "SmolLM2-135M-Instruct",
        "dataset": "reviews",
        "hooks": [HOOK],
        "store": {
            "fingerprint": "3f9c2a71d0b84e65aa10",
            "rows": n,
            "context": 128,
            "sequences": n // 128,
            "dtype": "bfloat16",
            "complete": True,
        },
        "run": {"architecture": ["relu"], "members": len(members), "config": {}},
        "tokens": n,
        "documents": int(corpus.starts.size - 1),
        "distinct_tokens": corpus.distinct,
        "config": {"units": None, "seed": 0},
        "counts": {
            "members": len(members),
            "units": len(tables["units"]),
            "alive": alive,
            "dead": len(tables["units"]) - alive,
            "examples": len(tables["examples"]),
        },
        "histogram_edges": {HOOK: EDGES},
        "window": {"length": WINDOW, "peak": PEAK, "per_unit": PER_UNIT},
        "vocabulary": "vocabulary.json",
        "controls": {"per_member": 64, "members": quantiles},
        "undefined": {"units": {"token_r2": len(tables["units"]) - alive}, "controls": {"token_r2": 0}},
        "notes": ["Features that never fired have no token scores and no contexts."],
        "inputs": "0" * 64,
    }
