"""What a user may get wrong with `actpipe train-lm`: one sentence each, and nothing of theirs is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actpipe.antehoc import T5
from actpipe.errors import Misuse
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.probe import plan
from actpipe.pretraining.stage import train_lm
from actpipe.pretraining.tasks import LanguageModelling, SpanCorruption
from tests.command_line import run
from tests.lm_runs import small


def test_a_folder_of_somebody_else_is_left_alone(text_file: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "training" / "download.partial"
    mine.parent.mkdir(parents=True)
    mine.write_text("keep me")
    (tmp_path / "mine" / "other.partial").write_text("me too")
    for overwrite in (False, True):
        with pytest.raises(Misuse, match="holds no training"):
            train_lm(small(text_file, tmp_path / "mine", overwrite=overwrite))
    assert sorted(path.name for path in (tmp_path / "mine").rglob("*.partial")) == ["download.partial", "other.partial"]
    assert not (tmp_path / "tokens").exists()  # refused before the text is read


def test_a_file_is_no_folder_for_a_model(text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "lm").write_text("a letter")
    with pytest.raises(Misuse, match="lm is a file"):
        train_lm(small(text_file, tmp_path / "lm"))
    assert (tmp_path / "lm").read_text() == "a letter"


def test_what_was_killed_as_it_began_begins_again(text_file: Path, tmp_path: Path) -> None:
    config = small(text_file, tmp_path / "lm", tokens=128)
    (config.out / "training").mkdir(parents=True)
    (config.out / "training" / "run.json.4321-abcdef01.partial").write_text("{")
    assert train_lm(config).complete
    assert not list(config.out.rglob("*.partial"))


def test_a_dataset_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(Misuse, match=r"empty\.txt has 0 documents with text"):
        train_lm(small(tmp_path / "empty.txt", tmp_path / "lm"))
    assert not (tmp_path / "lm").exists()
    assert [path.suffix for path in (tmp_path / "tokens").iterdir()] == [".json"]  # the tokenizer


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("batch_size = 8.5", "'8.5' is not a valid integer"),
        ("batch_size = true", "'True' is not a valid integer"),
        ("batch_size = [1, 2]", "has several values of 'batch_size', which takes one"),
        ("architecture = ['gpt']", "has several values of 'architecture', which takes one"),
        ("tokens = 4.5", "'4.5' is not a count"),
        ("tokens = true", "'True' is not a count"),
        ("lr = 1979-05-27", "'1979-05-27' is not a valid float"),
    ],
)
def test_a_recipe_is_read_as_what_is_typed(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "recipe.toml").write_text(line)
    done = run(tmp_path, "train-lm", "--recipe", "recipe.toml", "--dry-run", "--quiet")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recipe_may_write_numbers_and_fields_as_the_command_line_does(text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('tokens = 1e3\nset = "d_model=16"\ncontext = 16\nbatch_size = 1\nout = 7\n')
    done = run(tmp_path, "train-lm", "--recipe", "recipe.toml", "--dataset", str(text_file), "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens"] == 1008  # 63 sequences of 16


def test_options_of_a_training_are_refused_beside_evaluate(tmp_path: Path) -> None:
    for options in (("--set", "d_model=4"), ("--dry-run",), ("--lr", "1"), ("--out", "lm")):
        done = run(tmp_path, "train-lm", "--evaluate", "lm", *options)
        assert done.returncode == 2
        assert f"{options[0]} is about training and --evaluate trains nothing" in done.stderr


def test_a_dry_run_refuses_what_a_training_refuses(text_file: Path, tmp_path: Path) -> None:
    for architecture, vocabulary in (("gpt", 200), ("t5", 50), ("t5", 300)):
        with pytest.raises(Misuse, match=f"--vocabulary {vocabulary} is too small"):
            plan(small(text_file, tmp_path / "lm", architecture=architecture, vocabulary=vocabulary))


def test_a_dry_run_does_not_guess_a_length_that_is_not_known() -> None:
    with pytest.raises(Misuse, match="--tokens"):
        plan(TrainLMConfig(dataset="-", set=("d_model=16",)))


def test_shares_of_training_and_fields_of_tasks_are_checked() -> None:
    for share in (-0.1, 2.0, float("nan")):
        with pytest.raises(Misuse, match="k_warmup of t5"):
            T5(k_warmup=share)
    with pytest.raises(Misuse, match="mean_span"):
        SpanCorruption(mean_span=float("nan"))
    assert LanguageModelling.of({"opened": "False"}) == LanguageModelling(opened=False)
