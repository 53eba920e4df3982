"""What the measuring adds to a score is measured, and said where it decides the order of the dictionaries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.analysis.pipeline import UNITS, Drawn, pipeline_table
from actpipe.errors import Misuse
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.stage import harvest
from actpipe.training.config import TrainConfig
from actpipe.training.stage import train

HOOK = "blocks.1.hook_resid_post"
KEYS = ("level", "member", "metric", "against")


def planted(member: float, draw: float, seed: int = 0) -> list[Drawn]:
    """Four dictionaries of 60 units whose means have that standard deviation, in three draws that add that one."""
    random = np.random.default_rng(seed)
    apart, moved = member * np.array([-1.2, -0.4, 0.4, 1.2]), draw * np.array([-1.2, 0, 1.2])
    return [
        Drawn(
            str(i),
            HOOK,
            {"m": random.normal(0.5 + apart[i], 0.1, 60) + moved[:, None] + random.normal(0, 0.02, (3, 60))},
        )
        for i in range(4)
    ]


def rows(found: Any) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(row[key] for key in KEYS): row for row in found.to_pylist()}


def test_variances_of_units_members_and_draws_are_told_apart() -> None:
    table, notes = pipeline_table([], [], planted(0.2, 0.05))
    found = rows(table)
    assert notes == []
    members = found["members", None, "m", None]
    assert members["variance"] == pytest.approx(0.2**2 * 4 / 3 * 0.96 + 0.1**2 / 60, rel=0.5)
    assert members["variance_draws"] == pytest.approx(0.05**2 * 1.44, rel=0.3)
    assert members["variance_rest"] < 1e-4
    units = found["units", "0", "m", None]
    assert units["variance"] == pytest.approx(0.01, rel=0.5)
    assert units["variance_rest"] == pytest.approx(0.0004, rel=0.3)
    assert (units["n"], units["draws"]) == (60, 3)
    assert units["spearman"] > 0.9
    assert units["overlap"] > units["overlap_chance"] == 0.5


def test_where_draws_move_means_more_than_members_differ_a_sentence_says_so() -> None:
    _, notes = pipeline_table([], [], planted(0.01, 0.2))
    assert len(notes) == 1
    assert "by m is not decided" in notes[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    store = folder / "store.zarr"
    harvest(
        HarvestConfig(
            model="actpipe:factor-gpt-0",
            dataset="actpipe:factorlang",
            hook=(HOOK,),
            tokens=12_000,
            device="cpu",
            out=store,
        )
    )
    kinds = TrainConfig(store=store, architecture="random,pca", tokens=1000, out=folder / "run", device="cpu")
    train(kinds)
    return folder / "run"


def test_draws_are_scored_like_the_first_and_leave_every_other_table_as_it_is(run: Path, tmp_path: Path) -> None:
    asked = {"run": run, "scores": "concepts,rules"}
    for draws in (1, 2):
        analyze(AnalyzeConfig(**asked, draws=draws, out=tmp_path / str(draws)))
    once, twice = (pq.read_table(tmp_path / name / "parquet" / "pipeline.parquet") for name in ("1", "2"))
    assert {row["against"] for row in once.to_pylist()} == {"concept_f1_std"}
    found = rows(twice)
    members = {key[1] for key in found if key[0] == "units"}
    assert len(members) == 2
    for member in members:
        row = found["units", member, "rules_f1_std", None]
        assert row["draws"] == 2
        assert 2 <= row["n"] <= UNITS
        assert row["spearman"] > 0.3
    assert found["members", None, "rules_f1_std", None]["n"] == 2
    for name in ("scores", "means", "units"):
        one, other = (pq.read_table(tmp_path / draws / "parquet" / f"{name}.parquet") for draws in ("1", "2"))
        assert one.equals(other)
    summary = json.loads((tmp_path / "2" / "summary.json").read_text())
    undecided = [row for row in found.values() if row["level"] == "members" and _moved(row) > row["variance"]]
    assert len([note for note in summary["notes"] if "is not decided" in note]) == len(undecided)


def _moved(row: dict[str, Any]) -> float:
    return float(row["variance_draws"] + row["variance_rest"])


def test_units_stand_beside_shuffled_ones_of_their_density(run: Path, tmp_path: Path) -> None:
    analyze(AnalyzeConfig(run=run, scores="concepts,rules", out=tmp_path / "report"))
    table = pq.read_table(tmp_path / "report" / "parquet" / "chance.parquet").to_pandas()
    rules = table[table["metric"] == "rules_f1_std"]
    assert rules["p"].between(1 / 101, 1).all()
    assert (rules["q"] >= rules["p"] - 1e-12).all()
    assert (rules["chance"] < 0.05).all()
    units = pq.read_table(tmp_path / "report" / "parquet" / "units.parquet").to_pandas()
    assert len(rules) == int(units["alive"].sum())
    assert not set(table["metric"]) & {"rules_bits", "concept_families"}, "an axis has no better side"


def test_no_draws_are_refused() -> None:
    with pytest.raises(Misuse, match="--draws 0"):
        AnalyzeConfig(run=Path("run"), out=Path("out"), draws=0)
