"""Where nothing was learned no score is better than its control: a random dictionary, and a model before training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.stage import harvest
from actpipe.report.page import HEADLINE
from actpipe.training.config import TrainConfig
from actpipe.training.stage import train

MODEL, HOOK = "actpipe:factor-gpt-0", "blocks.1.mlp.hook_post"
SCORES = "mono_semanticity,concepts,rules"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a trained model: its neurons, and a dictionary of directions that know nothing of them."""
    folder = tmp_path_factory.mktemp("trained")
    store, run = harvested(folder, MODEL), folder / "run"
    train(TrainConfig(store=store, architecture="random", set=("share=0.02",), tokens=1000, out=run, device="cpu"))
    return analysed(folder, run, native=True)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The neurons of the same model before training."""
    folder = tmp_path_factory.mktemp("untrained")
    return analysed(folder, harvested(folder, f"{MODEL}@init"), native=False)


def harvested(folder: Path, model: str) -> Path:
    out = folder / "store.zarr"
    harvest(
        HarvestConfig(model=model, dataset="actpipe:factorlang", hook=(HOOK,), tokens=20_000, device="cpu", out=out)
    )
    return out


def analysed(folder: Path, run: Path, *, native: bool) -> Path:
    analyze(AnalyzeConfig(run=run, out=folder / "report", scores=SCORES, native=native))
    return folder / "report"


def means(report: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Member → headline metric → row."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in pq.read_table(report / "parquet" / "means.parquet").to_pylist():
        plain = (row["level"], row["weighting"], row["stratum"]) == ("member", "units", "all")
        if plain and row["metric"] in HEADLINE:
            found.setdefault(row["member"], {})[row["metric"]] = row
    return found


def verdicts(report: Path) -> dict[str, dict[str, str]]:
    return {member: {metric: row["verdict"] for metric, row in rows.items()} for member, rows in means(report).items()}


def grey(report: Path) -> dict[str, list[bool]]:
    """Member → whether the page prints each headline metric grey, in their order."""
    page = (report / "index.html").read_text(encoding="utf-8")
    section = page.partition('<section id="scores">')[2].partition("</section>")[0]
    rows = re.findall(r'<tr><th scope="row"><a href="#([^"]+)">(.*?)</tr>', section, re.DOTALL)
    return {member: ['class="undecided"' in cell for cell in re.findall(r"<td[^>]*>", row)] for member, row in rows}


def test_a_random_dictionary_is_not_better_than_its_control(trained: Path) -> None:
    (random,) = (name for name in verdicts(trained) if "random" in name)
    found = verdicts(trained)[random]
    assert set(found) == set(HEADLINE)
    assert "better" not in found.values(), found
    assert grey(trained)[random] == [True] * len(HEADLINE)


def test_neurons_of_a_trained_model_are_better_than_their_control(trained: Path) -> None:
    found = verdicts(trained)["native"]
    assert found["rules_f1_std"] == found["concept_f1_std"] == "better"
    assert grey(trained)["native"] == [found[metric] != "better" for metric in HEADLINE]


def test_neurons_of_an_untrained_model_are_not_better_than_their_control(untrained: Path) -> None:
    (found,) = verdicts(untrained).values()
    assert set(found) == set(HEADLINE)
    assert "better" not in found.values(), found
    assert list(grey(untrained).values()) == [[True] * len(HEADLINE)]


def test_training_is_what_lifts_neurons_above_their_control(trained: Path, untrained: Path) -> None:
    after, before = (means(report)[member] for report, member in ((trained, "native"), (untrained, "native")))
    for metric in ("rules_f1_std", "concept_f1_std"):
        assert after[metric]["delta_low"] > before[metric]["delta_high"] + 0.02
