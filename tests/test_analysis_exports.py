"""Exports hold what the report and the store hold, in the fields and types that the other tools read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.analysis.exports import EXPORTS
from actpipe.errors import Misuse
from actpipe.progress import silent
from actpipe.store import Store

from .command_line import run
from .small_run import CONTEXT, DEAD_UNIT, HOOK, WIDTH, make_dictionary, make_run, make_store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    store = make_store(folder / "store.zarr")
    analyze(AnalyzeConfig(run=make_run(folder / "run", store), out=folder / "report", scores="none"))
    return folder


def rows(place: Path, table: str, member: str) -> list[dict[str, Any]]:
    path = place / "report/parquet" / f"{table}.parquet"
    return list(pq.read_table(path, filters=[("member", "=", member)]).to_pylist())


def test_saedashboard_batches_say_what_the_report_says(place: Path, tmp_path: Path) -> None:
    EXPORTS["saedashboard"].write(place / "report", tmp_path, ("sparse",), silent)
    batch = json.loads((tmp_path / "sparse/batch-0.json").read_text())
    assert {feature["feature_index"] for feature in batch["features"]} == set(range(WIDTH)) - {DEAD_UNIT}
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
    result = json.loads((tmp_path / "sparse_eval_results.json").read_text())
    metrics = result["eval_result_metrics"]
    assert metrics["reconstruction_quality"]["explained_variance"] == 0.75
    assert metrics["reconstruction_quality"]["cossim"] == -1
    units = rows(place, "units", "sparse")
    assert metrics["sparsity"]["l0"] == pytest.approx(sum(unit["density"] for unit in units))
    assert metrics["misc_metrics"]["frac_alive"] == 0.8
    assert len(result["eval_result_details"]) == WIDTH


def test_the_command_writes_whole_folders_and_spares_others(place: Path) -> None:
    asked = ("export", "out", "--to", "saebench", "--from", "report")
    told = run(place, *asked, "--json")
    assert json.loads(told.stdout)["to"] == "saebench"
    again = run(place, *asked)
    assert again.returncode == 2
    assert "not empty" in again.stderr
