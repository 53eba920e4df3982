"""Exports hold what the report and the store hold, in the fields and types that the other tools read."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.analysis.exports import EXPORTS
from actpipe.errors import Damaged, Misuse
from actpipe.progress import silent
from actpipe.report.tables import ReportTables
from actpipe.store import Store

from .command_line import run
from .small_run import CONTEXT, DEAD_UNIT, HOOK, WIDTH, make_dictionary, make_report


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("exports"))


def rows(place: Path, table: str, member: str) -> list[dict[str, Any]]:
    path = place / "report/parquet" / f"{table}.parquet"
    return list(pq.read_table(path, filters=[("member", "=", member)]).to_pylist())


def test_saedashboard_batches_say_what_the_report_says(place: Path, tmp_path: Path) -> None:
    EXPORTS["saedashboard"].write(place / "report", tmp_path, ("sparse",), silent)
    batch = json.loads((tmp_path / "sparse/batch-0.json").read_text())
    assert {feature["feature_index"] for feature in batch["features"]} == set(range(WIDTH)) - {DEAD_UNIT}
    assert batch["layer"] == 0, "a number, as SAEDashboard has it"
    assert json.loads((tmp_path / "sparse/skipped_indexes.json").read_text())["skipped_indexes"] == [DEAD_UNIT]
    units = {unit["feature"]: unit for unit in rows(place, "units", "sparse")}
    examples = rows(place, "examples", "sparse")
    for feature in batch["features"]:
        unit = units[feature["feature_index"]]
        assert feature["frac_nonzero"] == unit["density"]
        assert sum(feature["freq_hist_data_bar_heights"]) == unit["count"]
        mine = [row for row in examples if row["feature"] == feature["feature_index"]]
        assert len(feature["activations"]) == len(mine)
        for shown, row in zip(feature["activations"], mine, strict=True):
            assert shown["values"] == pytest.approx(row["activations"], abs=1e-3)
            assert shown["values"][shown["qualifying_token_index"]] == shown["bin_max"]
            assert len(shown["tokens"]) == len(shown["values"])
    with pytest.raises(Misuse, match="has no member 'other'"):
        EXPORTS["saedashboard"].write(place / "report", tmp_path / "x", ("other",), silent)


def test_delphi_latents_are_the_codes_of_the_store(place: Path, tmp_path: Path) -> None:
    EXPORTS["delphi"].write(place / "run", tmp_path, ("sparse",), silent)
    store = Store.open(place / "store.zarr")
    folder = tmp_path / "latents" / HOOK
    config = json.loads((folder / "config.json").read_text())
    assert (config["cache_ctx_len"], config["n_tokens"]) == (CONTEXT, store.rows)
    dense = np.zeros((store.rows, WIDTH), np.float32)
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert names == [f"{i}_{i}.safetensors" for i in range(WIDTH)], "the end is inside"
    for name in names:
        found = load_file(folder / name)
        np.testing.assert_array_equal(found["tokens"], store.tokens)
        assert found["activations"].dtype == np.float16
        sequence, position, latent = found["locations"].astype(np.int64).T
        dense[sequence * CONTEXT + position, latent + int(name.split("_")[0])] = found["activations"]
    codes = make_dictionary([0.0, -1.0, -1.5, 0.0, -9.0]).encode(store.read(HOOK, 0, store.rows)).numpy()
    codes[~store.mask.reshape(-1)] = 0
    np.testing.assert_allclose(dense, codes, rtol=1e-3)


def test_several_members_of_a_hook_have_folders_of_their_own(place: Path, tmp_path: Path) -> None:
    EXPORTS["delphi"].write(place / "run", tmp_path, (), silent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense", "sparse"]


def test_saebench_results_have_its_names_and_our_numbers(place: Path, tmp_path: Path) -> None:
    notes = EXPORTS["saebench"].write(place / "report", tmp_path, (), silent)
    assert "--effects" in notes[0]
    result = json.loads((tmp_path / "core/sparse_eval_results.json").read_text())
    metrics = result["eval_result_metrics"]
    assert metrics["reconstruction_quality"]["explained_variance"] == 0.75
    assert metrics["reconstruction_quality"]["cossim"] == -1
    units = rows(place, "units", "sparse")
    assert metrics["sparsity"]["l0"] == pytest.approx(sum(unit["density"] for unit in units))
    assert metrics["misc_metrics"]["frac_alive"] == 0.8
    assert metrics["misc_metrics"]["normalized_freq_over_1_percent"] == 1
    assert len(result["eval_result_details"]) == WIDTH
    not_measured = result["eval_result_unstructured"]["not_measured"]
    assert {"reconstruction_quality.cossim", "eval_result_details.encoder_bias"} <= set(not_measured)
    assert "reconstruction_quality.explained_variance" not in not_measured


def test_saebench_results_take_what_effects_measured(place: Path, tmp_path: Path) -> None:
    """CE 3 with the answers, 2.5 without, 4.5 on zeros: (4.5 − 3) / (4.5 − 2.5) = 0.75 is recovered."""
    shutil.copytree(place / "report", tmp_path / "report")
    found = {"explained_variance": 0.9, "cosine": 0.95, "shrinkage": math.nan, "mse": 2.5, "norm": 6, "answer_norm": 5}
    spliced = {"ce": 3.0, "delta_ce": 0.5, "kl": 0.4, "kl_zero": 1.6, "kl_recovered": 0.75, "ce_recovered": 0.75}
    whole = [{"member": "sparse", "metric": name, "arm": "units", "value": value} for name, value in found.items()]
    hooks = [{"member": "sparse", "hook": HOOK, "metric": name, "value": value} for name, value in spliced.items()]
    for table, values in (("fidelity", whole), ("splices", [*hooks, {**hooks[0], "member": None, "hook": "all"}])):
        pq.write_table(pa.Table.from_pylist(values), tmp_path / f"report/parquet/{table}.parquet")
    assert EXPORTS["saebench"].write(tmp_path / "report", tmp_path / "out", (), silent) == []
    result = json.loads((tmp_path / "out/core/sparse_eval_results.json").read_text())
    metrics = result["eval_result_metrics"]
    assert metrics["reconstruction_quality"]["explained_variance"] == 0.9
    assert metrics["reconstruction_quality"]["cossim"] == 0.95
    assert metrics["shrinkage"]["l2_ratio"] == -1, "undefined is not measured"
    assert metrics["reconstruction_quality"]["mse"] == 2.5
    assert (metrics["shrinkage"]["l2_norm_in"], metrics["shrinkage"]["l2_norm_out"]) == (6, 5)
    assert metrics["model_behavior_preservation"] == {
        "kl_div_score": 0.75,
        "kl_div_with_ablation": 1.6,
        "kl_div_with_sae": 0.4,
    }
    assert metrics["model_performance_preservation"] == {
        "ce_loss_score": 0.75,
        "ce_loss_with_ablation": 4.5,
        "ce_loss_with_sae": 3.0,
        "ce_loss_without_sae": 2.5,
    }
    other = json.loads((tmp_path / "out/core/dense_eval_results.json").read_text())
    assert other["eval_result_metrics"]["model_behavior_preservation"]["kl_div_with_sae"] == -1
    assert other["eval_result_metrics"]["reconstruction_quality"]["explained_variance"] == 0.75


def test_saebench_results_of_drawn_units_have_the_l0_of_the_dictionary(place: Path, tmp_path: Path) -> None:
    analyze(AnalyzeConfig(run=place / "run", out=tmp_path / "report", scores="none", units=3))
    EXPORTS["saebench"].write(tmp_path / "report", tmp_path / "out", ("dense",), silent)
    metrics = json.loads((tmp_path / "out/core/dense_eval_results.json").read_text())["eval_result_metrics"]
    assert metrics["sparsity"] == {"l0": 2.0, "l1": -1}


def test_the_command_writes_whole_folders_and_spares_others(place: Path) -> None:
    asked = ("export", "out", "--to", "saebench", "--from", "report")
    told = run(place, *asked, "--json")
    assert json.loads(told.stdout)["to"] == "saebench"
    again = run(place, *asked)
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_a_table_of_another_version_is_refused_by_a_sentence(place: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    shutil.copytree(place / "report", report)
    table = pq.read_table(report / "parquet" / "members.parquet")
    pq.write_table(table.drop_columns(["member"]), report / "parquet" / "splices.parquet")
    with pytest.raises(Damaged, match=r"splices.parquet has no column 'member': .*another version of actpipe"):
        ReportTables.open(report).of_member("splices", "sparse")
