"""A report's fidelity as result files of SAEBench's `core` evaluation, one a member.

The names are those of `CoreEvalOutput` of SAEBench 0.6, all of which it asks for; the numbers are ours. What a report
does not hold is −1, and `eval_result_unstructured` lists where that is so. `explained_variance` is 1 − FVU with the
variance about the mean, on which a predictor of the mean scores 0 (SAEBench's formula squares the mean of x² where the
mean of x belongs). `mse` is the mean over rows of ‖x − x̂‖²; SAEBench divides its own by the number of tokens once more,
so the two cannot be held against each other. Splices and KL are over the documents of the split `score`.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from actpipe import __version__
from actpipe.files import write_json
from actpipe.progress import Progress
from actpipe.report.tables import ReportTables, Row

from .export import Export

_MISSING = -1.0
Numbers: TypeAlias = Mapping[str, float]  # metric → value, only what was measured
Categories: TypeAlias = dict[str, dict[str, float]]  # category → metric → value


class SAEBench(Export):
    name = "saebench"
    text = "result files of SAEBench's core evaluation"
    source = "report"

    def write(self, source: Path, folder: Path, members: tuple[str, ...], progress: Progress) -> list[str]:
        tables = ReportTables.open(source)
        chosen = tables.chosen(members)
        place = folder / "core"  # SAEBench's plots go by this word in the path
        place.mkdir(parents=True)
        for member in chosen:
            write_json(place / f"{member['member']}_eval_results.json", _result(tables, member))
        if tables.has("fidelity"):
            return []
        return ["Cosine, mse, norms, bias and KL are −1: analyze with --effects measures them."]


def _result(tables: ReportTables, member: Row) -> dict[str, Any]:
    name = member["member"]
    units = tables.of_member("units", name).to_pylist()
    fidelity = _measured(tables, "fidelity", name, arm="units")
    splice = _measured(tables, "splices", name)
    metrics: Categories = {
        **_preserved(member, splice),
        **_reconstructed(member, fidelity),
        "sparsity": _sparsity(member, units),
        "token_stats": _token_stats(tables),
        "misc_metrics": _misc(units),
    }
    details = [_detail(unit) for unit in units]
    return {
        "eval_type_id": "core",
        "eval_config": _config(tables, metrics),
        "eval_id": str(uuid.uuid4()),
        "datetime_epoch_millis": int(time.time() * 1000),
        "eval_result_metrics": metrics,
        "eval_result_details": details,
        "sae_bench_commit_hash": f"actpipe {__version__}",
        "sae_lens_id": name,
        "sae_lens_release_id": f"actpipe {tables.summary['store']['fingerprint'][:12]}",
        "sae_lens_version": None,
        "sae_cfg_dict": {
            "model_name": tables.summary["model"],
            "hook_name": member["hook"],
            "architecture": member["architecture"],
            "d_sae": member["width"],
        },
        "eval_result_unstructured": {
            "tool": f"actpipe {__version__}",
            "not_measured": _not_measured(metrics, details),
        },
    }


def _measured(tables: ReportTables, table: str, member: str, **wanted: str) -> Numbers:
    """Of the member as a whole; nothing where the table is missing or the number undefined."""
    rows = tables.of_member(table, member).to_pylist() if tables.has(table) else []
    return {
        row["metric"]: row["value"]
        for row in rows
        if row["value"] is not None
        and math.isfinite(row["value"])
        and all(row[column] == value for column, value in wanted.items())
    }


def _preserved(member: Row, splice: Numbers) -> Categories:
    """From the splice of the analysis; else the share that training found. Both compare with rows of zeros.

    With CE₀ the loss on zeros and r = (CE₀ − CE) / (CE₀ − CE_clean): CE₀ = CE_clean + ΔCE / (1 − r).
    """
    recovered = splice.get("ce_recovered", member["loss_recovered"])
    loss = {"ce_loss_score": _or_missing(recovered)} | dict.fromkeys(
        ("ce_loss_with_ablation", "ce_loss_with_sae", "ce_loss_without_sae"), _MISSING
    )
    if splice:
        clean = splice["ce"] - splice["delta_ce"]
        loss |= {"ce_loss_with_sae": splice["ce"], "ce_loss_without_sae": clean}
        if splice.get("ce_recovered", 1.0) != 1:
            loss["ce_loss_with_ablation"] = clean + splice["delta_ce"] / (1 - splice["ce_recovered"])
    behaviour = {
        "kl_div_score": splice.get("kl_recovered", _MISSING),
        "kl_div_with_ablation": splice.get("kl_zero", _MISSING),
        "kl_div_with_sae": splice.get("kl", _MISSING),
    }
    return {"model_behavior_preservation": behaviour, "model_performance_preservation": loss}


def _reconstructed(member: Row, fidelity: Numbers) -> Categories:
    """From the documents of the analysis where --effects read them, else the held-out FVU of training."""
    trained = None if member["fvu"] is None else 1 - member["fvu"]
    quality = {
        "explained_variance": _or_missing(fidelity.get("explained_variance", trained)),
        "explained_variance_legacy": _MISSING,
        "mse": fidelity.get("mse", _MISSING),
        "cossim": fidelity.get("cosine", _MISSING),
    }
    shrinkage = {
        "l2_norm_in": fidelity.get("norm", _MISSING),
        "l2_norm_out": fidelity.get("answer_norm", _MISSING),
        "l2_ratio": fidelity.get("shrinkage", _MISSING),
        "relative_reconstruction_bias": fidelity.get("relative_bias", _MISSING),
    }
    return {"reconstruction_quality": quality, "shrinkage": shrinkage}


def _sparsity(member: Row, units: list[Row]) -> dict[str, float]:
    """Of the whole dictionary: where only some units were analysed, the L0 of training."""
    if member["units"] < member["width"]:
        return {"l0": _or_missing(member["l0"]), "l1": _MISSING}
    # Mean over rows of Σ |a|.
    l1 = float(sum(unit["density"] * (unit["mean_active"] or 0.0) for unit in units))
    return {"l0": member["analysed_l0"], "l1": l1}


def _token_stats(tables: ReportTables) -> dict[str, float]:
    return {
        "total_tokens_eval_reconstruction": int(_MISSING),
        "total_tokens_eval_sparsity_variance": tables.summary["tokens"],
    }


def _misc(units: list[Row]) -> dict[str, float]:
    """Of the analysed units."""
    density = np.array([unit["density"] for unit in units])
    nearest = [unit["neighbour_cosine"] for unit in units if unit["neighbour_cosine"] is not None]
    found = {"frac_alive": float((density > 0).mean())}
    for percent in (1, 10):
        often = density > percent / 100
        share = float(density[often].sum() / density.sum()) if density.any() else 0.0
        found |= {f"freq_over_{percent}_percent": float(often.mean())}
        found |= {f"normalized_freq_over_{percent}_percent": share}
    found["average_max_encoder_cosine_sim"] = _MISSING
    found["average_max_decoder_cosine_sim"] = float(np.mean(nearest)) if nearest else _MISSING
    return found


def _detail(unit: Row) -> dict[str, float]:
    return {
        "index": unit["feature"],
        "feature_density": unit["density"],
        "consistent_activation_heuristic": _MISSING,
        "encoder_bias": _MISSING,
        "encoder_norm": _MISSING,
        "encoder_decoder_cosine_sim": _MISSING,
        "max_decoder_cosine_sim": _or_missing(unit["neighbour_cosine"]),
        "max_encoder_cosine_sim": _MISSING,
    }


def _config(tables: ReportTables, metrics: Categories) -> dict[str, Any]:
    """A sequence is a batch of its own: SAEBench multiplies context, batches and prompts to get its tokens."""
    store = tables.summary["store"]
    behaviour, performance = metrics["model_behavior_preservation"], metrics["model_performance_preservation"]
    return {
        "model_name": tables.summary["model"] or "",
        "batch_size_prompts": 1,
        "n_eval_reconstruction_batches": 0,
        "n_eval_sparsity_variance_batches": store["sequences"],
        "dataset": tables.summary["dataset"] or "",
        "context_size": store["context"],
        "compute_kl": behaviour["kl_div_with_sae"] != _MISSING,
        "compute_ce_loss": performance["ce_loss_score"] != _MISSING,
        "compute_l2_norms": metrics["shrinkage"]["l2_ratio"] != _MISSING,
        "compute_sparsity_metrics": True,
        "compute_variance_metrics": True,
        "compute_featurewise_density_statistics": True,
    }


def _not_measured(metrics: Categories, details: list[dict[str, float]]) -> list[str]:
    """The fields that hold −1 in the place of a number."""
    named = [f"{category}.{name}" for category, found in metrics.items() for name in found if found[name] == _MISSING]
    features = [name for name in (details[0] if details else ()) if all(each[name] == _MISSING for each in details)]
    return named + [f"eval_result_details.{name}" for name in features]


def _or_missing(value: float | None) -> float:
    return _MISSING if value is None or not math.isfinite(value) else value
