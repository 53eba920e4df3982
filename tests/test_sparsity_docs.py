"""The commands of docs/how-to/sparsity.md run, and the format page has every column that is written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actpipe.sparsity import SparsityConfig

from .conftest import sentences
from .test_cli import run
from .test_docs import ROOT, commands

GUIDE = ROOT / "docs" / "how-to" / "sparsity.md"
FORMAT = ROOT / "docs" / "reference" / "sparsity-format.md"


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, saved_models: dict[str, Path]) -> Path:
    """A folder in which the commands of the guide have run, on a small model and text."""
    folder = tmp_path_factory.mktemp("guide")
    text = folder / "text.txt"
    text.write_text(
        "\n\n".join([*sentences(80, seed=3), *["The science of letters. A river and technical walks."] * 9])
    )
    small = ("--dataset", str(text), "--tokens", "2k", "--context", "24", "--seed", "1")
    found = commands(GUIDE)
    assert len(found) == 2
    for command in found:
        words = [str(saved_models["gpt2"]) if word == "smollm2" else word for word in command[1:]]
        done = run(folder, *words, *small)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    return folder / "actpipe-out" / "sparsity"


def test_the_commands_of_the_guide_run_and_count_the_topic(worked: Path) -> None:
    summary = json.loads((worked / "sparsity.json").read_text())
    assert summary["kt"]["words"] == ["scien", "tech", "research"]
    assert summary["kt"]["arms"][0]["of_topic"] == 18
    assert (worked / "index.html").is_file()


def test_the_format_page_has_every_table_column_and_key(worked: Path) -> None:
    page = FORMAT.read_text(encoding="utf-8")
    for table in ("layers", "positions", "units", "kt"):
        schema = pq.read_schema(worked / f"{table}.parquet")
        assert schema.metadata[b"actpipe.format"] == b"sparsity"
        part = page.split(f"## {table}.parquet")[1].split("\n## ")[0] + page.split("## Measures")[1].split("\n## ")[0]
        names = [name.removesuffix("_low").removesuffix("_high") for name in schema.names]
        assert [name for name in names if f"`{name}`" not in part] == [], table
    for key in json.loads((worked / "sparsity.json").read_text()):
        assert f'"{key}":' in page.split("## sparsity.json")[1], key


def test_every_option_of_a_topic_is_in_the_guide() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    for field in dataclasses.fields(SparsityConfig):
        if field.name.startswith("kt_"):
            assert f"--{field.name.replace('_', '-')}" in guide
