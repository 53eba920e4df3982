"""Every page runs from top to bottom: the files that it has its reader write, and the commands that it has them type.

All of a page in one folder, with a small model and a few tokens in place of what is too large here. A line that cannot
run here is in ELSEWHERE with the reason; what it says to actpipe is at least understood.
"""

from __future__ import annotations

import json
import lzma
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import click
import pytest

from tests.command_line import ROOT, run, surroundings
from tests.conftest import sentences
from tests.guide_pages import blocks, typed
from tests.object_server import BUCKET, ObjectServer
from tests.test_harvest_workers import dask_cluster, environment

DOCS = ROOT / "docs"
# Pages whose commands another test runs, which looks at what they leave.
TESTED = {
    "how-to/analyze.md": "test_docs.py",
    "how-to/antehoc-models.md": "test_antehoc_docs.py",
    "how-to/compare.md": "test_compare_cli.py",
    "how-to/convert.md": "test_convert_docs.py",
    "how-to/sparsity.md": "test_sparsity_docs.py",
    "how-to/train-lm.md": "test_train_lm_docs.py",
    "how-to/train.md": "test_training_docs.py",
}
# They record what was run, for hours; of their commands we ask that they are understood.
RECORDS = sorted(DOCS.glob("replications/*.md"))
PAGES = {
    name: page
    for page in sorted(DOCS.rglob("*.md"))
    if typed(page) and page not in RECORDS and (name := page.relative_to(DOCS).as_posix()) not in TESTED
}
# Job scripts and processes of Dask; eight trainings; eight programs; a whole analysis. Of four pages with a plugin two.
SLOW = {f"how-to/{name}.md" for name in ("many-machines", "t5", "your-own-model", "add-a-codec", "add-a-model")} | {
    "tutorial.md"
}
RANKS = "starts several processes, as tests/test_training_ranks.py and tests/test_train_lm_ranks.py do"
DASK = "a scheduler with a free port and a worker stand in: `dask_cluster` of tests/test_harvest_workers.py"
GPU = "needs a GPU"
TORCHRUN = "torchrun --nproc-per-node 4 --no-python actpipe"
ELSEWHERE = {
    "make demo": "installs; tests/test_docs.py asks make what it would do",
    "source .venv/bin/activate": "is for the shell that goes on",
    f"{TORCHRUN} train-sae --l1-sweep 1:10:64": RANKS,
    f"{TORCHRUN} train-sae --l1-sweep 1:10:64 --expansion 8,16": RANKS,
    f"{TORCHRUN} train-sae four.zarr --l1-sweep 0.5:10:16 --seeds 2": RANKS,
    f"{TORCHRUN} train-lm --recipe recipe.toml --dataset books.jsonl.xz": RANKS,
    f"{TORCHRUN} train-lm --recipe actpipe:crate --dataset books.jsonl.xz --out crate": RANKS,
    "dask scheduler": DASK,
    "dask worker tcp://HOST:8786 --nthreads 2": DASK,
    "dask scheduler --scheduler-file scheduler.json &": DASK,
    "CUDA_VISIBLE_DEVICES=0 dask worker --scheduler-file scheduler.json --nthreads 2 &": DASK,
    "CUDA_VISIBLE_DEVICES=1 dask worker --scheduler-file scheduler.json --nthreads 2 &": DASK,
    "actpipe harvest --tokens 1M --device cuda --scheduler tcp://HOST:8786": GPU,
}
# Trainings that take hours; tests/test_shipped.py compares recipes and models.
HOURS = re.compile(r"actpipe train-lm --recipe actpipe:\S+ --seed \d .*--out \S+-\d")
# Where a page begins with what others have left: commands that leave it.
BEFORE = {"reference/architectures.md": ["actpipe harvest --hook 'blocks.1.*' --hook 'blocks.0.hook_resid_post'"]}
# What stands in a page → what stands in for it. The rest: `stand_ins`.
INSTEAD = {
    "how-to/factorlang.md": {
        "--dataset actpipe:factorlang ": "--dataset actpipe:factorlang,documents=40 ",
        "documents=4000": "documents=40",
    },
    "tutorial.md": {"--l1-sweep": "--l1-sweep 1,8"},  # in rows of another width the grid has other numbers
    "reference/architectures.md": {"blocks.9.": "blocks.1.", "16,32,64": "8,16,32"},
}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory, saved_models: dict[str, Path]) -> Path:
    """What pages take for granted: a model and texts, under the names that pages have for them."""
    folder = tmp_path_factory.mktemp("things")
    (folder / "my-model").symlink_to(saved_models["llama"])
    lines = sentences(300, seed=1)
    (folder / "text.txt").write_text("\n\n".join(lines), encoding="utf-8")
    records = {
        "notes.jsonl": [{"text": line} for line in lines],
        "moods.jsonl": [{"sentence": line, "mood": ("glad", "sad")[len(line) % 2]} for line in lines],
        "verses.jsonl": [{"fr": one, "pt": other} for one, other in zip(lines, lines[::-1], strict=True)],
    }
    for name, record in records.items():
        (folder / name).write_text("".join(json.dumps(each) + "\n" for each in record), encoding="utf-8")
    (folder / "books.jsonl.xz").write_bytes(lzma.compress((folder / "notes.jsonl").read_bytes()))
    return folder


@contextmanager
def stored_there(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    server = ObjectServer()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    try:
        yield {"s3://my-bucket": f"s3://{BUCKET}"}
    finally:
        server.stop()


@contextmanager
def scheduled_there(folder: Path) -> Iterator[dict[str, str]]:
    with dask_cluster(environment(), folder, "--nthreads", "2") as (address, _):
        yield {"tcp://HOST:8786": address}


def stand_ins(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[dict[str, str]]:
    """Parts of lines → what they are here."""
    if page == "how-to/object-stores.md":
        return stored_there(monkeypatch)
    if page == "how-to/many-machines.md":
        return scheduled_there(folder)
    return nullcontext(INSTEAD.get(page, {}))


@pytest.mark.timeout(900)  # many commands, each of which has its own
@pytest.mark.parametrize(
    "page", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in PAGES]
)
def test_the_page_runs(page: str, things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for thing in things.iterdir():
        (tmp_path / thing.name).symlink_to(thing.resolve())
    with stand_ins(page, tmp_path, monkeypatch) as instead:
        for line in BEFORE.get(page, []):
            assert complaint(shlex.split(line), tmp_path, {}) is None
        for block in blocks(PAGES[page]):
            if block.title:
                (tmp_path / block.title).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / block.title).write_text(block.body, encoding="utf-8")
            elif block.language == "bash":
                for words in block.commands():
                    assert complaint(words, tmp_path, instead) is None


def complaint(words: list[str], folder: Path, instead: dict[str, str]) -> str | None:
    """Do what the reader's shell would, with less to compute; what it said where it failed."""
    line = shlex.join(words)
    if is_elsewhere(words):
        return None
    for there, here in instead.items():
        line = line.replace(there, here)
    with pytest.MonkeyPatch.context() as settings:
        words = shlex.split(line)
        while "=" in words[0]:
            settings.setenv(*words.pop(0).split("=", 1))
        done = ran(words, folder)
    return f"{line}\n{done.stdout}\n{done.stderr}" if done.returncode else None


def is_elsewhere(words: list[str]) -> bool:
    return words in [shlex.split(line) for line in ELSEWHERE] or HOURS.fullmatch(shlex.join(words)) is not None


def ran(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    installed = folder / "installed"
    match words:
        case ["actpipe", *arguments]:
            return run(folder, *arguments, *shorter(arguments), timeout=300, site=installed)
        case ["pip", "install", "-e", place]:
            how = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(installed))
            return python(folder, "-m", "pip", "install", *how, place)
        case ["python", "-m", "pytest", *arguments]:  # of the contracts, in a checkout
            return python(ROOT, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, site=installed)
        case ["python", *arguments]:
            return python(folder, *arguments, site=installed)
        case ["sbatch", script]:
            return submitted(folder, script)
    raise AssertionError(f"it neither runs here nor is it in ELSEWHERE: {shlex.join(words)}")


def submitted(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """A job script, run at once on this machine."""
    programs = {
        "actpipe": f'exec {sys.executable} -m cli "$@" {shlex.join(shorter(["harvest", "--model", "--dataset"]))}',
        "dask": f'exec {sys.executable} -m dask "$@"',
        "python": f'exec {sys.executable} "$@"',
        "srun": 'exec "$@"',
    }
    (folder / "bin").mkdir(exist_ok=True)
    for name, line in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / "bin" / name).chmod(0o755)
    environment = surroundings(SLURM_JOB_ID="1", SLURM_CPUS_PER_TASK="1")
    environment["PATH"] = f"{folder / 'bin'}:{environment['PATH']}"
    return subprocess.run(["bash", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def python(folder: Path, *arguments: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = surroundings()
    environment["PYTHONPATH"] += f":{site}" if site else ""
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def shorter(arguments: list[str]) -> list[str]:
    """Options that make a command take a second; of an option that is given twice the last counts."""
    match arguments:
        case ["harvest", *options]:
            model = [] if "--model" in options else ["--model", "my-model"]
            text = [] if "--dataset" in options else ["--dataset", "text.txt"]
            workers = ["--workers", "2"] if "--workers" in options else []
            return [*model, *text, *workers, "--tokens", "4k", "--context", "24"]
        case ["train-sae", *_]:
            return ["--tokens", "1k", "--batch-size", "256", "--no-evaluate-loss"]
        case ["train-lm", *options]:
            small = [] if "--start-from" in options else ["--set", "d_model=16", "--set", "n_layers=2"]
            tokenizer = [] if {"--start-from", "--tokenizer"} & set(options) else ["--vocabulary", "400"]
            held_out = ["--validation-share", "0.2", "--validation-tokens", "256"]
            return [*small, *tokenizer, *held_out, "--tokens", "1k", "--context", "32", "--batch-size", "4"]
        case ["analyze", "--model", *_]:
            return ["--tokens", "1k", "--context", "24"]
        case ["analyze", *options]:
            return ["--units", "40", *([] if "--scores" in options else ["--scores", "positions"])]
    return []


def test_what_cannot_run_here_is_on_a_page_and_is_understood() -> None:
    lines = [words for page in DOCS.rglob("*.md") for words in typed(page) if page in RECORDS or is_elsewhere(words)]
    assert [line for line in ELSEWHERE if shlex.split(line) not in lines] == [], "no page has it any more"
    for words in lines:
        if "actpipe" in words:
            understood(words[words.index("actpipe") + 1 :])


def understood(words: list[str]) -> None:
    """The command is there, and so are its options."""
    from cli.__main__ import Commands

    group = Commands()
    command = group.get_command(click.Context(group), words[0])
    assert command is not None, words[0]
    command.make_context(words[0], words[1:])


def test_commands_that_are_not_there_are_not_understood() -> None:
    for wrong in (["harvst"], ["harvest", "--no-such-option"], ["harvest", "--tokens", "many"]):
        with pytest.raises((AssertionError, click.UsageError)):
            understood(wrong)


@pytest.mark.parametrize("page", TESTED)
def test_what_another_test_runs_it_names(page: str) -> None:
    test = (ROOT / "tests" / TESTED[page]).read_text(encoding="utf-8")
    assert f'"{Path(page).name}"' in test
    assert "commands(" in test


def test_no_command_hides_in_a_block_that_is_not_run() -> None:
    for page in DOCS.rglob("*.md"):
        for block in blocks(page):
            assert block.language in {"", "bash", "json", "py", "python", "text", "toml"}, page
            if block.language != "bash":
                assert not [line for line in block.body.splitlines() if line.startswith(PROGRAMS)], page


PROGRAMS = ("actpipe ", "dask ", "pip ", "python ", "sbatch ", "torchrun ")
