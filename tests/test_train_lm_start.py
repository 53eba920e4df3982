"""`train-lm --start-from`: weights, sizes and tokenizer of a model that is there, under what can carry them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from actpipe.antehoc.architecture import Network
from actpipe.antehoc.hugging_face import load
from actpipe.errors import Mismatch, Misuse
from actpipe.harvest.model import load_model
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.probe import plan
from actpipe.pretraining.stage import train_lm
from tests.command_line import run
from tests.conftest import sentences
from tests.lm_runs import small

STILL = {"lr": 1e-12, "weight_decay": 0.0, "tokens": 128}  # one step that moves nothing


@pytest.fixture(scope="module")
def dense(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("begun") / "dense"
    train_lm(small(text_file, out))
    return out


@pytest.fixture(scope="module")
def softmax(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 that has learned something about missing spans."""
    out = tmp_path_factory.mktemp("begun-t5") / "softmax"
    sizes = ("d_model=16", "n_layers=1", "n_heads=2", "d_mlp=32")
    train_lm(small(text_file, out, architecture="t5", vocabulary=400, context=24, set=sizes))
    return out


def begun(start: Path | str, text: Path, out: Path, **options: Any) -> TrainLMConfig:
    return small(text, out, **{"set": (), "start_from": str(start), **STILL, **options})


def network_of(folder: Path) -> Network:
    return load(folder)[1]


def first_loss(out: Path) -> float:
    line = json.loads((out / "training" / "metrics.jsonl").read_text().splitlines()[0])
    loss: float = line["train"]["ce"]
    return loss


def test_it_begins_with_the_weights_sizes_and_tokenizer_of_the_model(
    dense: Path, text_file: Path, tmp_path: Path
) -> None:
    train_lm(begun(dense, text_file, tmp_path / "on", vocabulary=300))
    assert (tmp_path / "on" / "tokenizer.json").read_bytes() == (dense / "tokenizer.json").read_bytes()
    before, after = network_of(dense).state_dict(), network_of(tmp_path / "on").state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    settled = json.loads((tmp_path / "on" / "training" / "run.json").read_text())["config"]
    assert settled["start_from"] == load_model(str(dense), dtype="float32").fingerprint()
    assert settled["start_from"] in (tmp_path / "on" / "README.md").read_text()
    assert "start_from" not in json.loads((dense / "training" / "run.json").read_text())["config"]


@pytest.mark.parametrize("architecture", ["topk", "self-ablating"])
def test_a_dense_model_goes_on_as_a_sparse_one(architecture: str, dense: Path, text_file: Path, tmp_path: Path) -> None:
    chosen = {"topk": ("k=8",), "self-ablating": ("k_neurons=4", "k_attention=4")}[architecture]
    train_lm(begun(dense, text_file, tmp_path / "on", architecture=architecture, set=chosen))
    network = network_of(tmp_path / "on")
    assert network.training_only() or architecture == "topk"
    before = network_of(dense).state_dict()
    for name, value in before.items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=1e-6)


def test_entmax_grows_out_of_a_softmax_checkpoint(softmax: Path, text_file: Path, tmp_path: Path) -> None:
    sparse = {"architecture": "t5", "context": 24, "set": ("attention=entmax:alpha=1.5,warmup=0.5", "mlp=topk", "k=8")}
    train_lm(begun(softmax, text_file, tmp_path / "sparse", **sparse))
    train_lm(begun(softmax, text_file, tmp_path / "same", architecture="t5", context=24))
    assert first_loss(tmp_path / "sparse") == pytest.approx(first_loss(tmp_path / "same"), abs=1e-5)
    fields = load(tmp_path / "sparse")[0].fields
    assert (fields["d_model"], fields["n_layers"], fields["mlp"], fields["k"]) == (16, 1, "topk", 8)
    drawn = begun(f"{softmax}@init=3", text_file, tmp_path / "drawn", architecture="t5", context=24)
    train_lm(drawn)
    assert first_loss(tmp_path / "drawn") > first_loss(tmp_path / "same") + 0.3  # which had learned something


@pytest.mark.parametrize("start", [pytest.param("ours", marks=pytest.mark.slow), "original"])
def test_a_t5_is_taught_labels_from_its_checkpoint(
    start: str, softmax: Path, saved_models: dict[str, Path], tmp_path: Path
) -> None:
    lines = [
        json.dumps({"text": text, "label": "river" if n % 2 else "stone"})
        for n, text in enumerate(
            f"{'the water runs' if n % 2 else 'the rock lies'} {one}" for n, one in enumerate(sentences(200, seed=4))
        )
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    model = softmax if start == "ours" else saved_models["t5"]
    done = run(
        tmp_path, "train-lm", "--architecture", "t5", "--task", "classification", "--dataset", "labels.jsonl",
        "--start-from", str(model), "--context", "24", "--batch-size", "8", "--tokens", "40k", "--lr", "1e-2",
        "--validation-share", "0.2", "--out", "taught", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["loss"] < 0.1
    assert load(tmp_path / "taught")[0].fields["d_model"] == load_model(str(model)).config.to_dict().get("d_model", 16)


def test_what_cannot_carry_the_weights_is_refused_before_anything_is_written(
    dense: Path, softmax: Path, saved_models: dict[str, Path], text_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "none"
    for start, options, sentence in (
        (dense, {"set": ("d_mlp=64",)}, "would have to be .*d_mlp 32"),
        (dense, {"context": 32}, "pos_embed.*context 16"),
        (dense, {"architecture": "crate"}, "it is gpt"),
        (softmax, {"task": "language-modelling"}, "it is t5"),
    ):
        config = begun(start, text_file, out, **options)
        with pytest.raises(Mismatch, match=sentence):
            train_lm(config)
        with pytest.raises(Mismatch, match=sentence):
            plan(config)
    with pytest.raises(Misuse, match="gpt2"):
        train_lm(begun(saved_models["gpt2"], text_file, out))
    with pytest.raises(Mismatch, match="leave --tokenizer out"):
        train_lm(begun(dense, text_file, out, tokenizer=str(softmax)))
    assert not out.exists()


def test_a_training_continues_only_from_what_it_began_with(dense: Path, text_file: Path, tmp_path: Path) -> None:
    config = begun(dense, text_file, tmp_path / "on", tokenizer=str(dense))  # its own may be named
    first = train_lm(config)
    assert train_lm(config) == first
    with pytest.raises(Mismatch, match="start_from"):
        train_lm(begun(f"{dense}@init", text_file, tmp_path / "on"))
