"""The untrained twin of dictionaries is found where its folder lies beside theirs, and of a model it can be made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import sae
from actpipe.compare.asked import asked_arms
from actpipe.compare.subjects import Subject, subject_of
from actpipe.compare.untrained import untrained
from actpipe.files import write_json

WIDTH = 5
MODEL = "actpipe:gpt-relu-0"


def write_dictionary(folder: Path, model: str, *, l1: float = 1.0, seed: int = 0) -> Path:
    eye = torch.eye(WIDTH)
    params = {"W_enc": eye.clone(), "b_enc": torch.zeros(WIDTH), "W_dec": eye.clone(), "b_dec": torch.zeros(WIDTH)}
    config = {"hook": "blocks.0.hook_mlp_out", "model": {"name": model}, "training": {"seed": seed}}
    scaling = sae.Scaling(torch.zeros(WIDTH), 1.0)
    sae.Dictionary.trained(sae.ReLU(), params, hyper={"l1": l1}, scaling=scaling, config=config).save(folder)
    return folder


def write_run(folder: Path, model: str, *, levels: Sequence[float] = (1.0, 2.0), finished: bool = True) -> Path:
    names = [write_dictionary(folder / "members" / f"l1_{l1:g}", model, l1=l1).name for l1 in levels]
    write_json(folder / "run.json", {"format": "actpipe-run", "version": 1, "store": {}, "config": {}})
    if finished:
        members = [{"path": f"members/{name}", "seed": 0} for name in names]
        write_json(folder / "results.json", {"format": "actpipe-results", "version": 1, "members": members})
    return folder


def subject(folder: Path) -> Subject:
    (asked,) = asked_arms([str(folder)])
    return subject_of(asked.sources[0], ())


def found(folder: Path) -> str | None:
    twin = untrained(subject(folder))
    return None if twin is None or twin.folder is None else twin.folder.name


def test_a_run_on_the_untrained_model_beside_it_is_the_twin_of_a_run(tmp_path: Path) -> None:
    trained = write_run(tmp_path / "sae", MODEL)
    assert untrained(subject(trained)) is None
    write_run(tmp_path / "a-sweep", f"{MODEL}@init=3", levels=(1.0, 2.0, 4.0))
    twin = untrained(subject(trained))
    assert twin is not None
    assert twin.model == f"{MODEL}@init=3"
    assert [member.name for member in twin.members] == ["l1_1", "l1_2"]  # of its levels those of the trained
    assert untrained(twin) is None


@pytest.mark.parametrize(
    ("model", "levels", "finished"),
    [
        ("actpipe:gpt-relu-1@init=1", (1.0, 2.0), True),  # of another model
        (MODEL, (1.0, 2.0), True),  # trained
        (f"{MODEL}@shuffled=0", (1.0, 2.0), True),  # another control
        (f"{MODEL}@init=0", (1.0,), True),  # a level is missing
        (f"{MODEL}@init=0", (1.0, 2.0), False),
    ],
)
def test_what_is_not_the_same_before_training_is_no_twin(
    model: str, levels: Sequence[float], finished: bool, tmp_path: Path
) -> None:
    trained = write_run(tmp_path / "sae", MODEL)
    write_run(tmp_path / "other", model, levels=levels, finished=finished)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.json").write_text("{")
    assert found(trained) is None


def test_one_dictionary_has_a_twin_too(tmp_path: Path) -> None:
    alone = write_dictionary(tmp_path / "alone", MODEL)
    write_dictionary(tmp_path / "before", f"{MODEL}@init=0")
    assert found(alone) == "before"
    member = write_run(tmp_path / "runs" / "sae", MODEL) / "members" / "l1_2"
    write_run(tmp_path / "runs" / "sae-init", f"{MODEL}@init=0")
    assert found(member) == "sae-init"


def test_a_model_is_its_own_twin_before_training() -> None:
    (asked,) = asked_arms([f"{MODEL}"])
    twin = untrained(subject_of(asked.sources[0], ()))
    assert twin is not None
    assert twin.model == f"{MODEL}@init=0"
    assert untrained(twin) is None
