"""Where nothing was learned no score is better than its control: a random dictionary, and a model before training.

A ReLU favours its neurons, trained or not, over random directions of its output: the controls for which the model runs
(`model_controls`) are behind a ReLU as well.
"""

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
    return analysed(folder, run, native=True, model_controls=True)


@pytest.fixture(scope="module")
def swept(trained: Path) -> Path:
    """Of the same rows a trained dictionary, and frozen ones in the same sweep."""
    kinds = "relu,frozen_decoder,soft_frozen_decoder,frozen_encoder,pca"
    store, run = trained.parent / "store.zarr", trained.parent / "swept"
    train(
        TrainConfig(
            store=store,
            architecture=kinds,
            l1=(2.0,),
            k=(48.0,),
            tokens=60_000,
            evaluate_loss=False,
            out=run,
            device="cpu",
        )
    )
    analyze(AnalyzeConfig(run=run, out=trained.parent / "swept-report", scores="rules"))
    return trained.parent / "swept-report"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The neurons of the same model before training."""
    folder = tmp_path_factory.mktemp("untrained")
    return analysed(folder, harvested(folder, f"{MODEL}@init"), native=False, model_controls=True)


def harvested(folder: Path, model: str) -> Path:
    out = folder / "store.zarr"
    harvest(
        HarvestConfig(model=model, dataset="actpipe:factorlang", hook=(HOOK,), tokens=20_000, device="cpu", out=out)
    )
    return out


def analysed(folder: Path, run: Path, *, native: bool, model_controls: bool) -> Path:
    asked = AnalyzeConfig(run=run, out=folder / "report", scores=SCORES, native=native, model_controls=model_controls)
    analyze(asked)
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
    section = page.partition('<section id="verdict">')[2].partition("</section>")[0]
    rows = re.findall(r'<tr><th scope="row"><a href="#members=(\d+)">(.*?)</tr>', section, re.DOTALL)
    members = pq.read_table(report / "parquet" / "members.parquet")["member"].to_pylist()
    return {
        members[int(arm)]: ['class="undecided"' in cell for cell in re.findall(r"<td[^>]*>", row)] for arm, row in rows
    }


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


def controls_of(report: Path, member: str) -> dict[str, float]:
    """Control → its mean of the scores of rules."""
    scores = pq.read_table(report / "parquet" / "scores.parquet").to_pandas()
    rules = scores[(scores["metric"] == "rules_f1_std") & (scores["member"] == member)]
    found: dict[str, float] = rules.groupby("control")["value"].mean().to_dict()
    return found


def test_neurons_of_an_untrained_model_stand_where_the_controls_behind_a_relu_stand(untrained: Path) -> None:
    (rows,) = means(untrained).values()
    (member,) = means(untrained)
    found, controls = rows["rules_f1_std"], controls_of(untrained, member)
    assert controls["random_directions"] < found["mean"] - 0.005, "random directions of the output are no match"
    assert found["control"] in ("random_neurons", "untrained")
    assert found["control_mean"] == pytest.approx(max(controls.values()), abs=1e-9)
    assert abs(found["delta"]) < 0.01
    assert found["verdict"] == "equivalent"


def test_neurons_of_a_trained_model_are_better_than_those_controls_too(trained: Path) -> None:
    found = means(trained)["native"]["rules_f1_std"]
    assert {"random_directions", "random_neurons", "untrained", "shuffled"} == set(controls_of(trained, "native"))
    assert found["delta_low"] > 0.02


def test_the_table_of_members_says_what_a_unit_is(trained: Path) -> None:
    members = {row["member"]: row for row in pq.read_table(trained / "parquet" / "members.parquet").to_pylist()}
    assert (members["native"]["kind"], members["native"]["writes"]) == ("neuron", "blocks.1.hook_mlp_out")
    assert members["native"]["stream"] == "clean"


def test_every_dictionary_has_its_counterpart_in_the_untrained_model(trained: Path) -> None:
    (random,) = (name for name in means(trained) if "random" in name)
    assert "untrained" in controls_of(trained, random)
    assert not list(trained.parent.glob("*.partial")), "what the controls needed is gone"


def test_frozen_dictionaries_and_baselines_are_controls_of_others_as_sparse_in_their_sweep(swept: Path) -> None:
    points = pq.read_table(swept / "parquet" / "density_points.parquet").to_pylist()
    controls: dict[str, set[str]] = {}
    for row in points:
        if row["level"] == "member":
            controls.setdefault(row["member"], set()).add(row["control"])
    members = {row["architecture"]: row for row in pq.read_table(swept / "parquet" / "members.parquet").to_pylist()}
    frozen, always = {"frozen_decoder", "soft_frozen_decoder", "frozen_encoder"}, {"shuffled", "random_directions"}
    for kind, row in members.items():
        eligible = set() if kind == "pca" else {"pca"} | (frozen if kind == "relu" else set())
        alike = {each for each in eligible if 0.5 <= members[each]["analysed_l0"] / row["analysed_l0"] <= 2}
        assert controls[row["member"]] == always | alike
    assert controls[members["relu"]["member"]] & frozen, "some are as sparse"
    own = {member: rows["rules_f1_std"] for member, rows in means(swept).items()}
    relu = own[members["relu"]["member"]]
    names = controls[members["relu"]["member"]] - always
    hardest = max(own[members[name]["member"]]["mean"] for name in names)
    assert relu["control_mean"] >= hardest - 1e-9


def test_training_is_what_lifts_neurons_above_their_control(trained: Path, untrained: Path) -> None:
    after, before = (means(report)[member] for report, member in ((trained, "native"), (untrained, "native")))
    for metric in ("rules_f1_std", "concept_f1_std"):
        assert after[metric]["delta_low"] > before[metric]["delta_high"] + 0.02
