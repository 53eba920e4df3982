"""What goes wrong around a harvest, and the sentence it is answered with.

Each command is a process of its own, forked from one that has everything imported (tests/forked_commands.py).
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import actpipe
from actpipe.store import verify
from tests.conftest import sentences
from tests.test_harvest_workers import ROOT, SLOW_DISK, environment, files_of, wait_for

HOOKS = ("blocks.1.hook_resid_post", "blocks.1.mlp.hook_post")
KILLS = 50


class Answer(NamedTuple):
    code: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """The last line, where an error has its one."""
        assert "Traceback" not in self.stderr, self.stderr
        return self.stderr.strip().splitlines()[-1] if self.stderr.strip() else ""


class Shell:
    """`actpipe …` in a folder."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, defaults: tuple[str, ...]) -> None:
        self.process, self.folder, self.defaults = process, folder, defaults

    @property
    def store(self) -> Path:
        return self.folder / "actpipe-out" / "store.zarr"

    def __call__(self, *arguments: str, **when: Any) -> Answer:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(
            json.dumps({"arguments": arguments, "folder": str(self.folder), **when}),
            file=self.process.stdin,
            flush=True,
        )
        return Answer(**json.loads(self.process.stdout.readline()))

    @property
    def committed(self) -> list[int]:
        return actpipe.open_store(self.store).committed if self.store.exists() else []

    def begin(self) -> None:
        """A harvest that is killed when some slabs are written and some are not."""
        operations = 600  # of files; how many come before the first commit is not for this test to know
        while not self.committed:
            assert self.harvest(die_at=operations).code == -signal.SIGKILL
            operations += 30
        assert 0 < len(self.committed) < actpipe.open_store(self.store).n_slabs

    def harvest(self, *more: str, **when: Any) -> Answer:
        return self("harvest", *self.defaults, *more, **when)

    def verify(self, *more: str) -> Answer:
        return self("verify", *more)


@pytest.fixture(scope="module")
def harvest_options(saved_models: dict[str, Path], text_file: Path) -> tuple[str, ...]:
    """About 15 slabs of 2 hooks, where the smallest slab has 64 KiB."""
    return ("--model", str(saved_models["llama"]), "--dataset", str(text_file), "--hook", HOOKS[0], "--hook", HOOKS[1],
            "--tokens", "3k", "--context", "24", "--batch-size", "4", "--device", "cpu", "--model-dtype", "float32",
            "--dtype", "float32")  # fmt: skip


@pytest.fixture(scope="module")
def forking(harvest_options: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.forked_commands"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps({"here": True, "arguments": ["harvest", *harvest_options]}), file=process.stdin, flush=True)
        assert json.loads(process.stdout.readline()) == {}
        yield process
        process.stdin.close()


@pytest.fixture
def shell(forking: subprocess.Popen[str], harvest_options: tuple[str, ...], tmp_path: Path) -> Shell:
    return Shell(forking, tmp_path, harvest_options)


@pytest.fixture(scope="module")
def undisturbed(
    forking: subprocess.Popen[str], harvest_options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    shell = Shell(forking, tmp_path_factory.mktemp("undisturbed"), harvest_options)
    assert shell.harvest().code == 0
    return shell.store


@pytest.fixture(scope="module")
def whole(undisturbed: Path) -> dict[str, bytes]:
    return files_of(undisturbed)


def test_kill_9_at_50_random_moments_loses_nothing_doubles_nothing_and_leaves_nothing(
    shell: Shell, whole: dict[str, bytes]
) -> None:
    draw, kills, finished = random.Random(0), 0, 0
    committed: set[int] = set()
    while kills < KILLS:
        # Undisturbed it takes about a second and a thousand of these operations, the first 400 for the empty store.
        when = {"die_at": draw.randint(1, 1100)} if kills % 2 else {"die_after": draw.uniform(0.05, 0.9)}
        done = shell.harvest(**when)
        assert done.code in (0, -signal.SIGKILL), done.stderr
        kills += done.code != 0
        if not shell.store.exists():
            continue
        assert not verify(shell.store)["damaged"]
        before, committed = committed, set(shell.committed)
        assert before <= committed
        if done.code == 0:
            assert files_of(shell.store) == whole
            shutil.rmtree(shell.store.parent)
            finished, committed = finished + 1, set()
    assert shell.harvest().code == 0
    assert finished >= 3
    assert files_of(shell.store) == whole
    # Nothing beside it either.
    assert [path.name for path in shell.folder.iterdir()] == ["actpipe-out"]
    assert [path.name for path in shell.store.parent.iterdir()] == ["store.zarr"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("harm", "file", "named"),
    [
        (flip, f"acts/{HOOKS[0]}/c/2/0", rf"slab 2, hook {HOOKS[0]}, chunk \d+: the checksum does not match"),
        (halve, f"acts/{HOOKS[1]}/c/1/0", rf"slab 1, hook {HOOKS[1]}: .* bytes instead of \d+"),
        (Path.unlink, f"acts/{HOOKS[1]}/c/1/0", rf"slab 1, hook {HOOKS[1]}: its shard file is missing"),
        (flip, f"statistics/{HOOKS[0]}/c/3/0/0", rf"slab 3, hook {HOOKS[0]}: its statistics cannot be read"),
        (flip, "commit/c/2/0", "slab 2: The checksum of commit/c/2/0"),
        (Path.unlink, "commit/c/2/0", "what is there is sound; run the same `actpipe harvest` again to finish it"),
        (flip, "tokens/c/1/0", "'tokens'"),
        (flip, "doc/c/0/0", "'doc'"),
        (halve, "mask/c/0/0", "'mask'"),
        (Path.unlink, "tokens/c/1/0", "'tokens'"),
        (Path.unlink, "tokens/zarr.json", "tokens"),
        (Path.unlink, f"acts/{HOOKS[0]}/zarr.json", rf"acts/{HOOKS[0]}/zarr\.json is missing"),
        (Path.unlink, f"statistics/{HOOKS[0]}/zarr.json", rf"statistics/{HOOKS[0]}/zarr\.json is missing"),
        (Path.unlink, "commit/zarr.json", r"commit/zarr\.json is missing"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_verify_names_the_damage_and_the_same_harvest_repairs_it(
    shell: Shell, undisturbed: Path, whole: dict[str, bytes], harm: Callable[[Path], None], file: str, named: str
) -> None:
    shutil.copytree(undisturbed, shell.store)
    harm(shell.store / file)
    found = shell.verify()
    assert found.code == 1, found
    assert re.search(named, found.stdout + found.stderr), found
    assert "Traceback" not in found.stderr
    again = shell.harvest()
    assert again.code == 0, again
    assert "Traceback" not in again.stderr
    assert files_of(shell.store) == whole
    assert shell.verify().code == 0


def broken_model(folder: Path, original: Path, change: Callable[[Any], None]) -> str:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(original)
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(original).save_pretrained(folder)
    return str(folder)


WORKERS = pytest.mark.parametrize("workers", [(), pytest.param(("--workers", "2"), marks=pytest.mark.slow)])


@WORKERS
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_value_that_is_not_finite_is_named_by_hook_document_and_position(
    shell: Shell, text_file: Path, saved_models: dict[str, Path], tokenizer: Any, value: str, workers: tuple[str, ...]
) -> None:
    """The text has one letter that the model cannot read, behind the slabs and the sample that it can."""
    text = shell.folder / "text.txt"
    end = f"\n\nthe king Z {'the queen ' * 30}"
    text.write_text(text_file.read_text(encoding="utf-8") + end, encoding="utf-8")
    letter = tokenizer.convert_tokens_to_ids("Z")

    def change(model: Any) -> None:
        model.model.embed_tokens.weight[letter, 3] = float(value)

    model = broken_model(shell.folder / "broken", saved_models["llama"], change)
    at_hook = (*shell.defaults[:4], "--hook", "blocks.0.hook_resid_pre", *shell.defaults[8:])
    done = shell("harvest", *at_hook, "--model", model, "--dataset", "text.txt", "--tokens", "20k", *workers)
    assert done.code == 2
    store = actpipe.open_store(shell.store)
    (found,) = np.argwhere(store.tokens == letter).tolist()
    slab = found[0] // store.layout.slab_sequences
    place = f"(sequence {found[0]}, position {found[1]}, component 3) is {value}"
    assert "'blocks.0.hook_resid_pre', document 400, " in done.sentence
    assert place in done.sentence
    assert slab not in store.committed
    assert workers or store.committed == list(range(slab))


@pytest.mark.parametrize("content", [b"", b"\n\n \n"])
def test_an_empty_dataset_is_a_sentence(shell: Shell, content: bytes) -> None:
    (shell.folder / "empty.txt").write_bytes(content)
    done = shell.harvest("--dataset", "empty.txt")
    assert done.code == 2
    assert "The dataset holds no text" in done.sentence
    assert not shell.store.exists()


def test_a_text_that_is_not_utf_8_is_a_sentence(shell: Shell) -> None:
    (shell.folder / "latin.txt").write_bytes("\n\n".join(sentences(300, seed=5)).encode("latin-1"))
    done = shell.harvest("--dataset", "latin.txt")
    assert done.code in (1, 2)
    assert "latin.txt" in done.sentence
    assert "UTF-8" in done.sentence
    assert not shell.store.exists()


def test_a_document_longer_than_the_context_is_kept_whole(shell: Shell) -> None:
    (shell.folder / "long.txt").write_text(" ".join(sentences(60, seed=6)))
    assert shell.harvest("--dataset", "long.txt", "--tokens", "480").code == 0
    store = actpipe.open_store(shell.store)
    assert set(store.doc.reshape(-1).tolist()) == {0}
    assert store.sequences == 20


def with_tokenizer(folder: Path, original: Path, tokenizer: Any) -> str:
    shutil.copytree(original, folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_tokenizer_without_special_tokens_needs_to_be_told_what_stands_between_texts(
    shell: Shell, saved_models: dict[str, Path], tokenizer: Any
) -> None:
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=copy.deepcopy(tokenizer.backend_tokenizer))
    model = ("--model", with_tokenizer(shell.folder / "bare", saved_models["llama"], bare))
    done = shell.harvest(*model)
    assert done.code == 2
    assert "has no special token that opens or closes a text" in done.sentence
    assert "Give --first none --separator none" in done.sentence
    assert shell.harvest(*model, "--first", "none", "--separator", "none").code == 0
    packing = actpipe.open_store(shell.store).config["packing"]
    assert (packing["first"], packing["separator"]) == (None, None)


def test_another_tokenizer_cannot_continue_a_store(shell: Shell, saved_models: dict[str, Path], tokenizer: Any) -> None:
    from tokenizers.normalizers import Lowercase

    folder = shell.folder / "model"
    shutil.copytree(saved_models["llama"], folder)
    assert shell.harvest("--model", str(folder)).code == 0
    shutil.rmtree(folder)
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.normalizer = Lowercase()
    done = shell.harvest("--model", with_tokenizer(folder, saved_models["llama"], other))
    assert done.code == 2
    assert "was made for another configuration: tokenizer is " in done.sentence


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings_is_refused(
    shell: Shell, saved_models: dict[str, Path], tokenizer: Any, text_file: Path
) -> None:
    words = " ".join(text_file.read_text(encoding="utf-8").split()[1:3])
    other = copy.deepcopy(tokenizer)
    assert other.add_tokens([words]) == 1
    done = shell.harvest("--model", with_tokenizer(shell.folder / "model", saved_models["llama"], other))
    assert done.code == 2
    assert f"gives the token {words!r} number 400" in done.sentence
    assert "the model has 400 embeddings" in done.sentence
    assert not shell.store.exists()


def test_the_second_of_two_harvests_of_one_store_says_so_and_stops(
    shell: Shell, harvest_options: tuple[str, ...], whole: dict[str, bytes], tmp_path: Path
) -> None:
    shell.begin()
    first = subprocess.Popen(
        [sys.executable, "-m", "cli", "harvest", *harvest_options, "--quiet"],
        cwd=tmp_path,
        env=environment(tmp_path / "slow", SLOW_DISK),
        stdout=subprocess.DEVNULL,
    )
    there = len(shell.committed)
    wait_for(lambda: len(shell.committed) > there)
    first.send_signal(signal.SIGSTOP)
    second = shell.harvest()
    first.kill()
    first.wait()
    assert second.code == 1
    assert second.sentence.startswith("Error: Another harvest is writing actpipe-out/store.zarr.")
    assert shell.harvest().code == 0  # the claim of a process ends with it
    assert files_of(shell.store) == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@WORKERS
def test_a_full_disk_is_a_sentence_and_making_room_is_enough(
    forking: subprocess.Popen[str],
    harvest_options: tuple[str, ...],
    whole: dict[str, bytes],
    small_disk: Path,
    workers: tuple[str, ...],
    tmp_path: Path,
) -> None:
    shell = Shell(forking, small_disk, harvest_options)
    shell.begin()
    there = len(shell.committed)
    harvesting = subprocess.Popen(
        [sys.executable, "-m", "cli", "harvest", *harvest_options, *workers, "--quiet"],
        cwd=small_disk,
        env=environment(tmp_path / "slow", SLOW_DISK),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(shell.committed) > there)
    ballast = small_disk / "ballast"  # somebody else fills the disk that was large enough when the harvest began
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    _, sentence = harvesting.communicate(timeout=60)
    assert harvesting.returncode == 1
    assert "disk is full" in sentence
    assert "make room and run the same command again" in sentence
    assert "more and the disk of" in shell.harvest().sentence  # told before anything is computed
    assert not list(shell.store.rglob("*.partial"))
    assert not verify(shell.store)["damaged"]
    ballast.unlink()
    assert shell.harvest().code == 0
    assert files_of(shell.store) == whole


def test_a_disk_that_is_too_small_from_the_start_is_refused(
    forking: subprocess.Popen[str], harvest_options: tuple[str, ...], small_disk: Path
) -> None:
    shell = Shell(forking, small_disk, harvest_options)
    done = shell.harvest("--tokens", "20k", "--hook", "blocks.0.hook_resid_post")
    assert done.code == 1
    said = r"Error: The store needs 6(\.\d+)? MB more and the disk of actpipe-out/store.zarr has 4\.\d+ MB free"
    assert re.match(said, done.sentence), done
    assert list(small_disk.iterdir()) == []
