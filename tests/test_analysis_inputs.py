"""What `actpipe analyze` starts from: here one dictionary by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.errors import Damaged, Mismatch, Missing, Misuse
from tests.command_line import run
from tests.small_run import HOOK, WIDTH, make_run, make_store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store, a run, and one of its dictionaries in a folder of its own that says its hook."""
    run_folder = make_run(tmp_path / "run", make_store(tmp_path / "store.zarr"))
    (run_folder / "members" / "sparse").rename(tmp_path / "sparse")
    say(tmp_path / "sparse", hook=HOOK)
    return tmp_path


def say(folder: Path, **more: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def asked(place: Path, **more: object) -> AnalyzeConfig:
    return AnalyzeConfig(run=place / "sparse", out=place / "report", store=place / "store.zarr", scores="none", **more)  # type: ignore[arg-type]


def test_one_dictionary_is_analysed_on_the_store_that_is_named(place: Path) -> None:
    done = run(place, "analyze", "sparse", "--store", "store.zarr", "--out", "report", "--scores", "none", "--native")
    assert done.returncode == 0, done.stderr
    members = {row["member"]: row for row in pq.read_table(place / "report/parquet/members.parquet").to_pylist()}
    assert set(members) == {"sparse", "native"}
    row = members["sparse"]
    assert (row["hook"], row["architecture"], row["width"], row["l1"]) == (HOOK, "relu", WIDTH, 1.0)
    assert row["fvu"] is None  # nobody measured it


def test_its_units_are_those_it_has_in_a_run(place: Path) -> None:
    analyze(asked(place))
    (place / "sparse").rename(place / "run" / "members" / "sparse")
    analyze(AnalyzeConfig(run=place / "run", out=place / "whole", store=place / "store.zarr", scores="none"))
    alone, whole = (pq.read_table(place / name / "parquet" / "units.parquet") for name in ("report", "whole"))
    assert alone.to_pylist() == [row for row in whole.to_pylist() if row["member"] == "sparse"]


def test_what_cannot_be_analysed_is_one_sentence(place: Path) -> None:
    with pytest.raises(Misuse, match=r"is one dictionary; name the store .* with --store"):
        analyze(AnalyzeConfig(run=place / "sparse", out=place / "report"))
    with pytest.raises(Misuse, match="--model-controls trains dictionaries once more"):
        analyze(asked(place, model_controls=True))
    say(place / "sparse", hook="blocks.7.hook_resid_post")
    with pytest.raises(Mismatch, match=r"is for hook 'blocks.7.hook_resid_post', and .* has blocks.0.hook_resid_post"):
        analyze(asked(place))
    say(place / "sparse", hook=None)
    with pytest.raises(Missing, match=r'does not say which hook .* Write "hook" into its config.json'):
        analyze(asked(place))
    say(place / "sparse", hook=HOOK, hooks=[HOOK, "blocks.1.hook_resid_post"])
    with pytest.raises(Misuse, match="reads several hooks at once"):
        analyze(asked(place))
    (place / "sparse" / "dictionary.safetensors").write_bytes(b"")
    say(place / "sparse", hooks=[HOOK])
    with pytest.raises(Damaged, match="cannot be read"):
        analyze(asked(place))
    assert not (place / "report").exists()
