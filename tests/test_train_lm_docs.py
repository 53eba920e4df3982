"""The commands of docs/how-to/train-lm.md run, in order, in a folder with stand-ins of its files."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

import actpipe
from tests.command_line import run
from tests.conftest import sentences
from tests.test_docs import commands

PAGE = Path(actpipe.__file__).parent.parent / "docs" / "how-to" / "train-lm.md"
# Fewer layers and tokens than the page's: what is shown is that the words are understood.
SHORTER = {"train-lm": ["--tokens", "300", "--batch-size", "2", "--vocabulary", "300", "--validation-tokens", "256"],
           "harvest": ["--tokens", "1k"]}  # fmt: skip


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    books = [" ".join(sentences(30, seed=seed)) for seed in range(300)]
    lines = "".join(json.dumps({"title": str(n), "text": text}) + "\n" for n, text in enumerate(books))
    (tmp_path / "books.jsonl.xz").write_bytes(lzma.compress(lines.encode()))
    (tmp_path / "other.txt").write_text("\n\n".join(sentences(300, seed=7)))
    ran = [command for command in commands(PAGE) if command[0] == "actpipe"]
    for command in ran:
        words = command[1:]
        evaluates = "--evaluate" in words
        done = run(tmp_path, *words, *([] if evaluates else SHORTER[words[0]]), timeout=300)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert len(ran) == 9
