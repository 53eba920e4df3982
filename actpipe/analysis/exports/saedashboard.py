"""A report as feature batches of SAEDashboard 0.8, which its own converter turns into an upload for Neuronpedia.

    MEMBER/batch-{i}.json         at most 128 features; the fields of `FeatureData.to_dict` there
    MEMBER/run_settings.json      what was analysed
    MEMBER/skipped_indexes.json   features that never fired: Neuronpedia refuses them

Values are rounded to three decimals, as SAEDashboard does. What a report does not hold (alignment with neurons, the
distribution of decoder weights) is an empty list, never a made-up number.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actpipe.files import write_json
from actpipe.progress import Progress
from actpipe.report.tables import ReportTables, Row

from .export import Export

BATCH = 128  # most features that Neuronpedia takes at once
_UNKNOWN: tuple[str, ...] = (
    *("neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1"),
    *("correlated_neurons_indices", "correlated_neurons_l1", "correlated_neurons_pearson"),
    *("correlated_features_indices", "correlated_features_l1", "correlated_features_pearson"),
    *("decoder_weights_dist", "vector"),
)


class SAEDashboard(Export):
    name = "saedashboard"
    text = "feature batches of SAEDashboard 0.8 (for Neuronpedia)"
    source = "report"

    def write(self, source: Path, folder: Path, members: tuple[str, ...], progress: Progress) -> list[str]:
        tables = ReportTables.open(source)
        chosen = tables.chosen(members)
        with progress.bar("Writing batches", len(chosen), "dictionaries") as bar:
            for member in chosen:
                _write_member(tables, member, folder / member["member"])
                bar.advance(1)
        return ["Alignment with neurons and decoder vectors are left empty: a report does not hold them."]


def _write_member(tables: ReportTables, member: Row, folder: Path) -> None:
    name = member["member"]
    units = tables.of_member("units", name).to_pylist()
    bins = {row["feature"]: row["bins"] for row in tables.of_member("histograms", name).to_pylist()}
    windows: dict[int, list[Row]] = {}
    for row in tables.of_member("examples", name).to_pylist():
        windows.setdefault(row["feature"], []).append(row)
    edges = tables.summary["histogram_edges"][member["hook"]]
    layer = _layer(member["hook"])
    alive = [unit for unit in units if unit["alive"]]
    about = {"model_id": tables.summary["model"] or "", "layer": layer, "sae_set": name, "sae_id_suffix": ""}
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(alive), BATCH)):
        features = [
            _feature(unit, bins[unit["feature"]], edges, windows.get(unit["feature"], []), tables)
            for unit in alive[start : start + BATCH]
        ]
        write_json(folder / f"batch-{number}.json", {**about, "features": features})
    skipped = [unit["feature"] for unit in units if not unit["alive"]]
    write_json(folder / "skipped_indexes.json", {**about, "skipped_indexes": skipped})
    settings = {**about, "hook": member["hook"], "n_prompts_total": tables.summary["store"]["sequences"]}
    write_json(folder / "run_settings.json", {**settings, "dataset": tables.summary["dataset"], "tool": "actpipe"})


def _feature(
    unit: Row, bins: Sequence[int], edges: Sequence[float], windows: Sequence[Row], tables: ReportTables
) -> dict[str, Any]:
    text = tables.vocabulary
    store = tables.summary["store"]
    return {
        "feature_index": unit["feature"],
        **{name: [] for name in _UNKNOWN},
        "pos_str": [text[token] for token in unit["top_logit_tokens"] or []],
        "pos_values": _rounded(unit["top_logits"] or []),
        "neg_str": [text[token] for token in unit["bottom_logit_tokens"] or []],
        "neg_values": _rounded(unit["bottom_logits"] or []),
        "frac_nonzero": unit["density"],
        "freq_hist_data_bar_values": _rounded([(a + b) / 2 for a, b in itertools.pairwise(edges)]),
        "freq_hist_data_bar_heights": list(bins),
        "logits_hist_data_bar_values": [],
        "logits_hist_data_bar_heights": [],
        "n_prompts_total": store["sequences"],
        "n_tokens_in_prompt": store["context"],
        "dataset": tables.summary["dataset"],
        "activations": [_window(row, text) for row in windows],
    }


def _window(row: Row, text: Sequence[str]) -> dict[str, Any]:
    """All of ours are of the strongest: SAEDashboard marks that group by bin_min −1 and bin_contains −1."""
    return {
        "bin_min": -1,
        "bin_max": round(max(row["activations"]), 3),
        "bin_contains": -1,
        "qualifying_token_index": row["peak"],
        "tokens": [text[token] for token in row["tokens"]],
        "values": _rounded(row["activations"]),
    }


def _layer(hook: str) -> str:
    numbers = [part for part in hook.split(".") if part.isdigit()]
    return numbers[0] if numbers else hook


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]
