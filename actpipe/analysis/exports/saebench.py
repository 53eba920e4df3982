"""A report's fidelity as result files of SAEBench's `core` evaluation, one a member.

The names are SAEBench's; the numbers are ours: `explained_variance` is 1 − FVU with the variance about the mean, on
which a predictor of the mean scores 0 (by the formula of SAEBench of May 2026 it scores more). What was not measured is
−1, as SAEBench writes it.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from actpipe import __version__
from actpipe.files import write_json
from actpipe.progress import Progress
from actpipe.report.tables import ReportTables, Row

from .export import Export

_MISSING = -1.0
# SAEBench's name → ours in fidelity.parquet, of the arm "units".
_FIDELITY = {
    "cossim": "cosine",
    "l2_ratio": "shrinkage",
    "relative_reconstruction_bias": "relative_bias",
}


class SAEBench(Export):
    name = "saebench"
    text = "result files of SAEBench's core evaluation"
    source = "report"

    def write(self, source: Path, folder: Path, members: tuple[str, ...], progress: Progress) -> list[str]:
        tables = ReportTables.open(source)
        fidelity = _fidelity(source)
        folder.mkdir(parents=True, exist_ok=True)
        for member in tables.chosen(members):
            units = tables.of_member("units", member["member"]).to_pylist()
            result = _result(tables, member, units, fidelity.get(member["member"], {}))
            write_json(folder / f"{member['member']}_eval_results.json", result)
        return [] if fidelity else ["Cosine, l2 ratio and bias are −1: analyze with --effects measures them."]


def _fidelity(source: Path) -> dict[str, dict[str, float]]:
    path = source / "parquet" / "fidelity.parquet"
    found: dict[str, dict[str, float]] = {}
    for row in pq.read_table(path).to_pylist() if path.is_file() else []:
        if row["arm"] == "units" and row["value"] is not None:
            found.setdefault(row["member"], {})[row["metric"]] = row["value"]
    return found


def _result(tables: ReportTables, member: Row, units: list[Row], fidelity: dict[str, float]) -> dict[str, Any]:
    density = np.array([unit["density"] for unit in units])
    fvu = member["fvu"]
    metrics = {
        "model_behavior_preservation": {"kl_div_score": _MISSING},
        "model_performance_preservation": {"ce_loss_score": _or_missing(member["loss_recovered"])},
        "reconstruction_quality": {
            "explained_variance": _MISSING if fvu is None else 1 - fvu,
            "mse": _MISSING,
            "cossim": fidelity.get(_FIDELITY["cossim"], _MISSING),
        },
        "shrinkage": {
            name: fidelity.get(_FIDELITY[name], _MISSING) for name in ("l2_ratio", "relative_reconstruction_bias")
        },
        "sparsity": {"l0": member["analysed_l0"], "l1": _l1(units)},
        "misc_metrics": {
            "frac_alive": float((density > 0).mean()),
            "freq_over_1_percent": float((density > 0.01).mean()),
            "freq_over_10_percent": float((density > 0.1).mean()),
        },
    }
    details = [{"index": unit["feature"], "feature_density": unit["density"]} for unit in units]
    return {
        "eval_type_id": "core",
        "eval_config": {"tokens": tables.summary["tokens"], "dataset": tables.summary["dataset"]},
        "eval_id": str(uuid.uuid4()),
        "datetime_epoch_millis": int(time.time() * 1000),
        "eval_result_metrics": metrics,
        "eval_result_details": details,
        "sae_bench_commit_hash": f"actpipe {__version__}",
        "sae_lens_id": member["member"],
        "sae_lens_release_id": f"actpipe {tables.summary['store']['fingerprint'][:12]}",
        "sae_lens_version": "",
        "sae_cfg_dict": {
            "model_name": tables.summary["model"],
            "hook_name": member["hook"],
            "architecture": member["architecture"],
            "d_sae": member["width"],
        },
    }


def _l1(units: list[Row]) -> float:
    """Mean over rows of Σ |a|."""
    return float(sum(unit["density"] * (unit["mean_active"] or 0.0) for unit in units))


def _or_missing(value: float | None) -> float:
    return _MISSING if value is None else value
