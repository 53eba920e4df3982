"""Arms that are models: what is missing is harvested, analysed and measured, and kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from actpipe.compare import CompareConfig, compare
from actpipe.compare.opened import Comparison
from actpipe.errors import Missing
from tests.tiny_model import TINY, WORDS, save_tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two copies of a model, and a text of words that it knows."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(save_tiny(folder / "one", seed=1), folder / "copy")
    random = np.random.default_rng(0)
    lines = [json.dumps({"text": " ".join(f"w{i}" for i in random.integers(0, WORDS, 60))}) for _ in range(60)]
    (folder / "text.jsonl").write_text("\n".join(lines))
    return folder


def asked(place: Path, *, out: str = "compared", workers: int | None = None) -> CompareConfig:
    return CompareConfig(
        arms=(f"one={place / 'one'}", f"copy={place / 'copy'}"),
        out=place / out,
        workers=workers,
        dataset=str(place / "text.jsonl"),
        tokens=2400,
        context=16,
        scores="rules",
    )


def test_two_copies_of_a_model_are_not_different_and_nothing_is_made_twice(place: Path) -> None:
    compare(asked(place))
    found = Comparison.open(place / "compared")
    one, copy = found.summary["arms"]
    assert one["loss"] == copy["loss"]
    assert one["loss"][0] == pytest.approx(np.log(40), abs=0.1)  # untrained: a guess among 40
    blocks = TINY.build(seed=0).blocks
    assert one["parameters"][0] == pytest.approx(sum(weight.numel() for weight in blocks.parameters()), rel=0.05)
    verdicts = found.frame("verdicts")
    assert set(verdicts[verdicts.metric == "rules_f1_std"].verdict) <= {"no difference", "undecided"}
    assert not any("better" in said.split(";")[0] for said in found.verdicts)
    made = {path: path.stat().st_mtime_ns for path in (place / "compared" / "arms").rglob("*") if path.is_file()}
    assert len(list((place / "compared" / "arms").iterdir())) == 4  # two arms, and the twin of each
    assert not list((place / "compared" / "arms").rglob("store.zarr"))
    compare(asked(place))
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_several_processes_make_the_same_and_say_what_is_wrong(place: Path) -> None:
    config = asked(place, out="by-workers", workers=2)
    compare(config)
    compare(asked(place))
    folders = [place / name for name in ("compared", "by-workers")]
    for name in ("means", "pairs", "verdicts", "designs", "claims", "hypervolumes"):
        one, other = (pq.read_table(folder / "parquet" / f"{name}.parquet") for folder in folders)
        assert one.equals(other), name
    with pytest.raises(Missing, match=r"nowhere\.jsonl"):
        compare(replace(config, dataset=str(place / "nowhere.jsonl"), out=place / "failed"))
