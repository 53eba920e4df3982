"""`actpipe train-lm`: from a text to a model that the other commands take."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from actpipe.antehoc import ARCHITECTURES
from actpipe.antehoc.gpt import GPT
from actpipe.errors import Diverged, Mismatch, Missing, Misuse
from actpipe.harvest.model import load_model
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.evaluation import evaluate
from actpipe.pretraining.probe import plan
from actpipe.pretraining.publishing import command
from actpipe.pretraining.recipes import read_recipe
from actpipe.pretraining.stage import LMResult, architecture_class, architecture_for, train_lm
from cli.train_lm import command as train_lm_command
from tests.command_line import run
from tests.lm_runs import small, weights_of


@pytest.fixture(scope="module")
def trained(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainLMConfig, LMResult]:
    config = small(text_file, tmp_path_factory.mktemp("trained") / "lm", tokens=150 * 128)
    return config, train_lm(config)


def test_the_command_on_the_card_gives_the_configuration_back(tmp_path: Path) -> None:
    config = small(
        tmp_path / "my text.txt", tmp_path / "lm", lr=1e-3 / 3, warmup=1e-7, lr_floor=0.1234567891, clip=0.0, seed=3
    )
    words = shlex.split(command(config))
    assert words[:2] == ["actpipe", "train-lm"]
    typed = train_lm_command.make_context("train-lm", words[2:]).params
    found = TrainLMConfig(**{field.name: typed[field.name] for field in fields(TrainLMConfig)})
    elsewhere = {name: getattr(config, name) for name in ("device", "out", "tokens_cache")}
    assert replace(found, **elsewhere) == config


def test_the_loss_falls_far_below_that_of_guessing(trained: tuple[TrainLMConfig, LMResult]) -> None:
    config, result = trained
    assert result.complete
    assert result.tokens == 150 * 128
    assert result.loss < 3.6  # the logarithm of 280 is 5.6
    lines = [json.loads(line) for line in (config.out / "training" / "metrics.jsonl").read_text().splitlines()]
    curve = [line["validation"]["ce"] for line in lines if "validation" in line]
    assert len(curve) == 22  # every 7 of 150 steps, and at the end
    assert curve[-1] < curve[0] - 1
    assert lines[-1]["tokens"] == result.tokens


def test_the_folder_is_a_model_for_transformers_and_harvest(
    trained: tuple[TrainLMConfig, LMResult],
) -> None:
    config, result = trained
    model = load_model(str(config.out), device="cpu")
    assert model.tokenizer.is_fast
    assert len(model.tokenizer) == model.config.vocab_size == 280
    assert model.config.max_position_embeddings == 16
    assert sum(weight.numel() for weight in model.module.parameters()) == result.parameters
    done = run(
        config.out.parent, "harvest", "--model", "lm", "--dataset", config.dataset, "--tokens", "500",
        "--context", "16", "--hook", "blocks.1.mlp.hook_post", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hooks"] == {"blocks.1.mlp.hook_post": 32}


def test_the_loss_is_computed_again_from_the_folder_alone(trained: tuple[TrainLMConfig, LMResult]) -> None:
    config, result = trained
    again = evaluate(str(config.out), replace(config, dataset="nowhere"))
    assert again.loss == result.loss
    assert again.perplexity == result.perplexity
    assert (again.architecture, again.parameters, again.tokens) == ("gpt", result.parameters, result.tokens)
    assert f"{result.loss:.4f} nats a token" in (config.out / "README.md").read_text(encoding="utf-8")
    from_dataset = evaluate(str(config.out), replace(config, validation_share=0.5), own_text=False)
    assert from_dataset.loss == result.loss  # the documents that were held out, whatever share is asked for now


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--context", "8", "was trained with --context 16 and is evaluated so; leave --context out"),
        ("--task", "span-corruption", "was trained with --task language-modelling and"),
        ("--task-set", "opened=false", "was trained with other fields of its task"),
        ("--validation-share", "0.5", "was trained with --validation-share 0.1 and"),
    ],
)
def test_an_option_that_would_change_the_loss_is_not_passed_over(
    trained: tuple[TrainLMConfig, LMResult], option: str, value: str, sentence: str
) -> None:
    config, _ = trained
    done = run(config.out.parent, "train-lm", "--evaluate", "lm", option, value)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_what_it_was_trained_with_may_be_said_again(trained: tuple[TrainLMConfig, LMResult]) -> None:
    config, result = trained
    again = ("--context", "16", "--task", "language-modelling", "--task-set", "opened=true")
    done = run(config.out.parent, "train-lm", "--evaluate", "lm", *again, "--json")
    assert json.loads(done.stdout)["loss"] == result.loss, done.stderr


def test_a_shipped_model_is_evaluated_on_what_was_held_out_of_its_text(
    trained: tuple[TrainLMConfig, LMResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its card says what it was trained on; the number is that of the card."""
    from actpipe import shipped
    from actpipe.shipped.ship import ship

    config, _ = trained
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(shipped, "TOKENIZERS", tmp_path / "tokenizers")
    shutil.copytree(config.out, tmp_path / "gpt-relu-0")
    ship(tmp_path / "gpt-relu-0")
    card = shipped.card("actpipe:gpt-relu-0")
    again = evaluate("actpipe:gpt-relu-0", replace(config, validation_share=0.7), own_text=False)
    assert again.loss == card["loss"]
    assert (again.tokens, again.complete) == (card["tokens"], True)
    with pytest.raises(Missing, match=r"is not shipped: give --dataset with its text \(nonsense.txt\)"):
        evaluate("actpipe:gpt-relu-0", config)


def test_a_model_is_evaluated_on_another_text(
    trained: tuple[TrainLMConfig, LMResult], saved_models: dict[str, Path], tmp_path: Path
) -> None:
    config, result = trained
    other = tmp_path / "other.txt"
    other.write_text("\n\n".join(f"{number} zebras quack {number * 7} times" for number in range(60)))
    asked = replace(config, dataset=str(other))
    assert evaluate(str(config.out), asked, own_text=False).loss > result.loss + 1
    untrained = evaluate(str(saved_models["llama"]), asked, own_text=False)
    assert untrained.loss == pytest.approx(torch.log(torch.tensor(400.0)).item(), abs=0.3)
    with pytest.raises(Missing, match="was not trained by actpipe"):
        evaluate(str(saved_models["llama"]), asked)


def test_the_validation_curve_ends_at_the_loss_of_the_card(
    trained: tuple[TrainLMConfig, LMResult], tmp_path: Path
) -> None:
    """On all validation text both are means over the same labels."""
    config, _ = trained
    config = replace(config, out=tmp_path / "lm", tokens=20 * 128, validation_tokens=1_000_000)
    result = train_lm(config)
    last = (config.out / "training" / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["validation"]["ce"] == pytest.approx(result.loss, rel=1e-5)


def test_documents_held_out_are_not_trained_on(trained: tuple[TrainLMConfig, LMResult]) -> None:
    config, _ = trained
    fingerprint = json.loads((config.out / "training" / "run.json").read_text())["config"]["text"]["fingerprint"]
    splits = json.loads((config.cache / fingerprint[:16] / "header.json").read_text())["splits"]
    assert splits["train"]["documents"] + splits["validation"]["documents"] == 400
    assert 20 <= splits["validation"]["documents"] <= 60  # a tenth of 400


def test_gradients_of_several_passes_add_up_to_those_of_one(
    trained: tuple[TrainLMConfig, LMResult], tmp_path: Path
) -> None:
    config = replace(trained[0], tokens=20 * 128, out=tmp_path / "whole")
    train_lm(config)
    train_lm(replace(config, micro_batch=3, out=tmp_path / "parts"))  # 3 + 3 + 2 sequences
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], rtol=1e-3, atol=1e-4, msg=name)


def test_matrices_are_decayed_and_gains_are_not(trained: tuple[TrainLMConfig, LMResult], tmp_path: Path) -> None:
    """With a rate of almost nothing, decay lr · λ = 1e-9 · 1e9 / 10 takes a tenth of every matrix in a step."""
    config = replace(
        trained[0], tokens=128, lr=1e-9, weight_decay=1e8, warmup=0.0, out=tmp_path / "lm", validate_every=1
    )
    train_lm(config)
    start = GPT(vocabulary=280, context=16, d_model=16, n_layers=2, n_heads=2, d_mlp=32).build(seed=0)
    after = weights_of(config.out)
    for name, weight in start.named_parameters():
        expected = weight * 0.9 if weight.ndim >= 2 else weight
        torch.testing.assert_close(after[f"network.{name}"], expected, rtol=1e-5, atol=1e-7, msg=name)


def test_a_network_is_told_the_share_of_training_and_projected_after_each_step(
    trained: tuple[TrainLMConfig, LMResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actpipe.antehoc.decoder import Decoder

    heard: list[Any] = []
    monkeypatch.setattr(Decoder, "at", lambda self, fraction: heard.append(fraction))
    monkeypatch.setattr(Decoder, "project", lambda self: heard.append("project"))
    train_lm(replace(trained[0], tokens=4 * 128, validate_every=2, out=tmp_path / "lm"))
    steps = [0.0, "project", 0.25, "project", 1.0, 0.5, "project", 0.75, "project", 1.0]
    assert heard == steps  # validation sees the network as it is when training is over


def test_a_loss_that_is_not_finite_stops_with_step_and_parts(
    trained: tuple[TrainLMConfig, LMResult], tmp_path: Path
) -> None:
    config = replace(trained[0], lr=1e30, warmup=0.0, clip=0.0, out=tmp_path / "lm")
    with pytest.raises(Diverged, match=r"Step [12] met a number that is not finite \(loss nan, ce nan, gradient nan\)"):
        train_lm(config)
    assert not (config.out / "training" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"architecture": "gtp"}, "There is no architecture 'gtp'; known: "),
        ({"set": ("d_modle=16",)}, "The architecture gpt has no field 'd_modle'"),
        ({"set": ("d_model=wide",)}, "d_model of gpt is 'wide'"),
        ({"set": ("d_model",)}, "--set 'd_model' is not FIELD=VALUE"),
        ({"set": ("d_model=16", "d_model=32")}, "--set sets d_model more than once"),
        ({"set": ("vocabulary=99",)}, "follows from --vocabulary"),
        ({"set": ("context=99",)}, "follows from --context"),
        ({"task": "knitting"}, "There is no task 'knitting'"),
        ({"dataset": "nowhere.txt"}, "There is no file or folder nowhere.txt"),
        ({"context": 4000}, "The validation text has .* tokens, too few for one sequence of 4000"),
        ({"device": "cuda:77"}, "The device 'cuda:77' is not there"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    trained: tuple[TrainLMConfig, LMResult], tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    config = replace(trained[0], out=tmp_path / "lm", **options)
    with pytest.raises(Misuse, match=sentence):
        train_lm(config)
    assert not config.out.exists()


def test_another_configuration_is_refused_and_named(trained: tuple[TrainLMConfig, LMResult], text_file: Path) -> None:
    config, result = trained
    before = (config.out / "model.safetensors").read_bytes()
    assert train_lm(config) == result  # complete already
    with pytest.raises(Mismatch, match=r"holds another training: lr is 0.01 there and 0.02 here"):
        train_lm(replace(config, lr=0.02))
    with pytest.raises(Mismatch, match=r"architecture.fields.activation is 'relu' there and 'gelu' here"):
        train_lm(replace(config, set=(*config.set, "activation=gelu")))
    assert (config.out / "model.safetensors").read_bytes() == before


def test_overwrite_starts_anew_and_removes_only_trainings(
    trained: tuple[TrainLMConfig, LMResult], tmp_path: Path
) -> None:
    config = replace(trained[0], tokens=128, out=tmp_path / "lm")
    train_lm(config)
    assert train_lm(replace(config, seed=1, overwrite=True)).complete
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    for overwrite in (False, True):
        with pytest.raises(Misuse, match="holds no training"):
            train_lm(replace(config, out=tmp_path / "mine", overwrite=overwrite))
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_a_recipe_is_the_options_and_what_is_typed_wins(
    trained: tuple[TrainLMConfig, LMResult], text_file: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'dataset = "{text_file}"\ntokens = "1k"\nvocabulary = 280\ncontext = 16\nbatch-size = 8\nlr = 1e-2\n'
        'validation_share = 0.1\nout = "elsewhere"\n[set]\nd_model = 16\nn_heads = 2\nactivation = "gelu"\n'
    )
    done = run(tmp_path, "train-lm", "--recipe", str(recipe), "--out", "lm", "--lr", "0.02", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    printed = json.loads(done.stdout)
    assert set(printed) == {
        "out", "architecture", "parameters", "tokens", "loss", "perplexity", "tokens_per_second", "complete",
    }  # fmt: skip
    assert (printed["out"], printed["tokens"], printed["complete"]) == ("lm", 1024, True)
    described = json.loads((tmp_path / "lm" / "training" / "run.json").read_text())["config"]
    assert described["lr"] == 0.02
    assert described["architecture"]["fields"]["activation"] == "gelu"
    assert not (tmp_path / "elsewhere").exists()
    again = run(tmp_path, "train-lm", "--evaluate", "lm")
    assert f"validation loss {printed['loss']:.4f} nats a token" in again.stdout


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.toml", "leraning_rate = 1", "has 'leraning_rate', which is no option of train-lm"),
        ("a.toml", "lr = = 1", "cannot be read"),
        ("a.json", "[1]", "is no table of options"),
    ],
)
def test_a_recipe_that_says_nothing_known_is_refused(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Misuse, match=sentence):
        read_recipe(tmp_path / name, {"lr"})
    with pytest.raises(Missing, match="There is no recipe"):
        read_recipe(tmp_path / "none.toml", {"lr"})


def test_shipped_recipes_are_found_by_name_and_are_options() -> None:
    import actpipe

    options = {field.name for field in fields(TrainLMConfig)}
    recipes = sorted((Path(actpipe.__file__).parent / "shipped" / "recipes").glob("*.toml"))
    assert len(recipes) >= 7
    for recipe in recipes:
        found = read_recipe(Path(f"actpipe:{recipe.stem}"), options)
        config = TrainLMConfig(architecture=found["architecture"], set=found.get("set", ()))
        assert architecture_for(config, architecture_class(config), 4096).name == found["architecture"]
    with pytest.raises(Missing, match="actpipe:gtp"):
        read_recipe(Path("actpipe:gtp"), options)


def test_a_dry_run_says_what_it_costs_and_writes_nothing(
    trained: tuple[TrainLMConfig, LMResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actpipe.pretraining.probe.PROBE_S", 0.05)
    config, result = trained
    planned = plan(replace(config, out=tmp_path / "lm", tokens_cache=None))
    assert planned.parameters == result.parameters
    assert (planned.tokens, planned.steps, planned.tokens_are_estimated) == (150 * 128, 150, False)
    assert planned.seconds == pytest.approx(planned.tokens / planned.tokens_per_second)
    once = plan(replace(config, out=tmp_path / "lm", tokens=None, tokens_cache=None))
    assert once.tokens_are_estimated
    assert once.tokens > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [n for n, each in ARCHITECTURES.items() if each.model_type == "actpipe"])
def test_every_decoder_is_trained_and_evaluated_again(name: str, text_file: Path, tmp_path: Path) -> None:
    sizes = {"d_model": 64, "n_layers": 2, "n_heads": 2}
    config = small(
        text_file, tmp_path / "lm", architecture=name, tokens=10 * 128,
        set=tuple(f"{field}={value}" for field, value in sizes.items()),
    )  # fmt: skip
    result = train_lm(config)
    assert result.loss < 5.7  # of guessing: 5.63
    assert evaluate(str(config.out), config).loss == result.loss
