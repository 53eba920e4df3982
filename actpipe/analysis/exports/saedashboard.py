"""A report as feature batches of SAEDashboard 0.8, which its own converter turns into an upload for Neuronpedia.

    MEMBER/batch-{i}.json         at most 128 features: a `NeuronpediaDashboardBatch`
    MEMBER/run_settings.json      what was analysed, as a `NeuronpediaRunnerConfig`
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
    alive = [unit for unit in units if unit["alive"]]
    about = {"model_id": tables.summary["model"] or "", "layer": _layer(member["hook"]), "sae_set": name}
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(alive), BATCH)):
        features = [
            _feature(unit, bins[unit["feature"]], edges, windows.get(unit["feature"], []), tables)
            for unit in alive[start : start + BATCH]
        ]
        write_json(folder / f"batch-{number}.json", {**about, "sae_id_suffix": None, "features": features})
    skipped = [unit["feature"] for unit in units if not unit["alive"]]
    by_name = about | {"layer": str(about["layer"]), "log_sparsity": None}  # here SAEDashboard writes the layer as text
    write_json(folder / "skipped_indexes.json", {**by_name, "skipped_indexes": skipped})
    write_json(folder / "run_settings.json", about | _settings(tables, member))


def _settings(tables: ReportTables, member: Row) -> dict[str, Any]:
    """Groups of contexts by quantile are none: those of a report are the strongest."""
    store = tables.summary["store"]
    return {
        "sae_path": member["path"],
        "outputs_dir": ".",
        "huggingface_dataset_path": tables.summary["dataset"] or "",
        "n_prompts_total": store["sequences"],
        "n_tokens_in_prompt": store["context"],
        "n_features_at_a_time": BATCH,
        "n_quantiles": 0,
        "quantile_group_size": 0,
    }


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
        "dataset": tables.summary["dataset"] or "",
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


def _layer(hook: str) -> int | str:
    """A number wherever the hook has one; the name of a hook outside of the layers stays a name."""
    numbers = [part for part in hook.split(".") if part.isdigit()]
    return int(numbers[0]) if numbers else hook


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]
