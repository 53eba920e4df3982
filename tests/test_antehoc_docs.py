"""docs/how-to/antehoc-models.md: its tables are the code's, and its commands run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from actpipe.antehoc import ARCHITECTURES, Architecture
from tests.command_line import run
from tests.conftest import sentences
from tests.test_docs import ROOT, commands

PAGE = ROOT / "docs" / "how-to" / "antehoc-models.md"


def test_the_page_has_every_architecture_its_fields_and_its_units() -> None:
    page = PAGE.read_text(encoding="utf-8")
    common = {field.name for field in dataclasses.fields(Architecture)}
    for name, cls in ARCHITECTURES.items():
        own = [field for field in dataclasses.fields(cls) if field.name not in common]
        cells = ", ".join(f"`{field.name}` {_shown(field.default)}" for field in own)
        assert f"| `{name}` | {cells} |\n" in page
        assert page.count(f"| `{name}` |") >= 2
        for unit in cls().network().units():
            assert f"`{unit.kind}`" in page


def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n\n".join(sentences(300, seed=1)), encoding="utf-8")
    small = ["--tokens", "1k", "--context", "32"]
    trained = [*small, "--batch-size", "8", "--vocabulary", "400", "--set", "d_model=16", "--set", "d_mlp=32"]
    ran = [command for command in commands(PAGE) if command[0] == "actpipe"]
    assert [command[1] for command in ran] == ["train-lm", "train-lm", "harvest"]
    for command in ran:
        done = run(tmp_path, *command[1:], *(trained if command[1] == "train-lm" else small))
        assert done.returncode == 0, f"{command}: {done.stderr}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value == "":
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
