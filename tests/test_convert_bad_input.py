"""Whatever is wrong with a source or a target: one sentence, exit code 2, nothing written, nothing overwritten."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from actpipe.convert import FORMATS
from actpipe.convert.exchange import exchange
from actpipe.convert.format import Answer, Reference
from actpipe.convert.stage import convert
from actpipe.convert.verification import compare, random_rows
from actpipe.errors import ActpipeError
from tests import foreign
from tests.command_line import fresh, run
from tests.ours import dictionary


class Harmful:
    """A pickle that leaves a trace when it is loaded as one."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without(folder: Path, name: str) -> None:
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors.pop(name)
    save_file(tensors, folder / "sae_weights.safetensors")


def changed(folder: Path, **fields: object) -> None:
    path = folder / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def with_tensor(folder: Path, name: str, tensor: torch.Tensor) -> None:
    file = folder / "sae_weights.safetensors"
    save_file({**load_file(file), name: tensor}, file)


def pickled(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"encoder.weight": Harmful(folder / "trace")}, folder / name)
    return folder


def make_pickle(folder: Path) -> Path:
    pickled(folder, "ae.pt")
    return folder


def make_old_pickle(folder: Path) -> Path:
    folder.mkdir()
    (folder / "ae.pt").write_bytes(pickle.dumps(Harmful(folder / "trace")))
    return folder


def make_objects(folder: Path) -> Path:
    where = foreign.gemma_scope(folder)
    p = dict(np.load(where / "params.npz"))
    p["threshold"] = np.array([Harmful(folder / "trace")] * foreign.N, dtype=object)
    np.savez(where / "params.npz", **p)
    return where


def backup_scaled_by_nothing(folder: Path) -> Path:
    file = foreign.dictionary_learning(folder) / "ae.pt"
    torch.save({"ae": torch.load(file), "norm_factor": 0.0}, file)
    return folder


def of(make: Callable[..., Path], then: Callable[[Path], None], **fields: object) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        path = make(folder, **fields)
        then(path)
        return path

    return made


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda folder: folder, "There is nothing at"),
    "an empty folder": (lambda folder: folder.mkdir() or folder, "is no dictionary in a format that actpipe knows"),
    "a run": (
        lambda folder: (foreign.saelens(folder / "a"), foreign.saelens(folder / "b").parent)[1],
        r"holds several dictionaries; name one: .*a, .*b",
    ),
    "a truncated safetensors file": (
        of(foreign.saelens, lambda p: cut(p / "sae_weights.safetensors")),
        "sae_weights.safetensors is not a whole safetensors file",
    ),
    "a truncated pt file": (of(foreign.dictionary_learning, lambda p: cut(p / "ae.pt")), "ae.pt is not a whole file"),
    "a truncated npz file": (of(foreign.gemma_scope, lambda p: cut(p / "params.npz")), "is not a whole .npz file"),
    "a pickle": (make_pickle, r"actpipe runs no code of a file.*torch.save\(dictionary.state_dict\(\)"),
    "an old pickle": (make_old_pickle, "actpipe runs no code of a file"),
    "objects in an npz file": (make_objects, "is not a whole .npz file of numbers"),
    "a missing tensor": (of(foreign.saelens, lambda p: without(p, "W_dec")), "lacks the tensor 'W_dec'; it has"),
    "a wrong shape": (
        of(foreign.saelens, lambda p: with_tensor(p, "b_dec", torch.zeros(3))),
        r"the tensor 'b_dec' has shape \[3\], not \[6\]",
    ),
    "numbers that are not finite": (
        of(foreign.saelens, lambda p: with_tensor(p, "b_enc", torch.full((foreign.N,), torch.nan))),
        "'b_enc' holds numbers that are not finite",
    ),
    "a configuration that is no JSON": (
        of(foreign.saelens, lambda p: (p / "cfg.json").write_text("{")),
        "cfg.json is not JSON",
    ),
    "a configuration without d_in": (
        of(foreign.saelens, lambda p: (p / "cfg.json").write_text('{"architecture": "standard"}')),
        "cfg.json lacks 'd_in'",
    ),
    "k above n": (of(foreign.saelens, lambda p: changed(p, k=99), architecture="topk"), "k must be from 1 to the 15"),
    "k of nothing": (of(foreign.saelens, lambda p: changed(p, k=None), architecture="topk"), "'k' is None"),
    "an unknown architecture": (of(foreign.saelens, lambda p: changed(p, architecture="mine")), "'mine': actpipe does"),
    "arguments that are none": (
        of(
            foreign.saelens, lambda p: changed(p, sae_lens_version="6.54", metadata={"model_from_pretrained_kwargs": 1})
        ),
        "'model_from_pretrained_kwargs' is 1, which is no JSON object",
    ),
    "a size that is not a number": (
        of(foreign.saelens, lambda p: changed(p, d_in=float("nan"))),
        "'d_in' is 'NaN', which is not int or float",
    ),
    "a factor that is none": (backup_scaled_by_nothing, "norm_factor is 0.0; a positive number"),
    "abstopk": (of(foreign.saelens, lambda p: changed(p, architecture="abstopk")), "its codes can be negative"),
    "an unknown normalisation": (
        of(foreign.saelens, lambda p: changed(p, normalize_activations="rms")),
        "normalize_activations 'rms'; known: none",
    ),
    "groupmax": (of(foreign.sparsify, lambda p: changed(p, activation="groupmax")), "one feature of each group"),
    "a batch's k": (lambda folder: foreign.llamascopium(folder, "batchtopk"), "depends on the other rows of a batch"),
    "a batch's norm": (
        lambda folder: foreign.llamascopium(folder, norm_activation="batch-wise"),
        "depends on the other",
    ),
    "a missing norm": (lambda folder: foreign.llamascopium(folder, norm=(0.0, 0.0)), "the file does not tell it"),
    "signed codes": (lambda folder: foreign.openai(folder, postact_fn="Identity"), "its codes can be negative"),
    "TopK or BatchTopK": (
        lambda folder: foreign.dictionary_learning(folder, "BatchTopKSAE", config=False),
        "is an AutoEncoderTopK or a BatchTopKSAE",
    ),
    "a class of one's own": (lambda folder: foreign.dictionary_learning(folder, dict_class="Mine"), "the class 'Mine'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_source_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    make, sentence = WRONG[name]
    source = make(tmp_path / "source")
    with pytest.raises(ValueError, match=sentence) as caught:
        convert(source, tmp_path / "target")
    assert getattr(caught.value, "exit_code", None) == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "target").exists()
    assert not list(tmp_path.rglob("trace")), "no code of a file has run"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("kind", ["pt", "old pt", "npz", "compressed npz"])
def test_a_file_changed_or_cut_anywhere_is_one_sentence(tmp_path: Path, kind: str) -> None:
    if kind.endswith("pt"):
        file = foreign.dictionary_learning(tmp_path / "source") / "ae.pt"
        torch.save(torch.load(file), file, _use_new_zipfile_serialization=kind == "pt")
    else:
        file = foreign.gemma_scope(tmp_path / "source") / "params.npz"
        (np.savez if kind == "npz" else np.savez_compressed)(file, **np.load(file))
    whole = file.read_bytes()
    draw = random.Random(0)
    for i in range(200):
        broken = bytearray(whole)
        for _ in range(3):
            broken[draw.randrange(len(whole))] = draw.randrange(256)
        file.write_bytes(broken if i % 2 else whole[: draw.randrange(len(whole))])
        with contextlib.suppress(ActpipeError):  # anything else would be a traceback
            FORMATS.of(file).read(file)


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    source = foreign.saelens(tmp_path / "source")
    convert(source, tmp_path / "ours")
    before = (tmp_path / "ours" / "config.json").read_bytes()
    with pytest.raises(ValueError, match=r"is there already\. Name another place, or give --overwrite"):
        convert(source, tmp_path / "ours")
    assert (tmp_path / "ours" / "config.json").read_bytes() == before
    other = foreign.dictionary_learning(tmp_path / "other")
    convert(other, tmp_path / "ours", overwrite=True)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["source"]["format"] == "dictionary_learning"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other", "ours", "source"]


def test_a_replaced_dictionary_is_at_its_place_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(foreign.saelens(tmp_path / "source"), tmp_path / "ours")
    other = foreign.dictionary_learning(tmp_path / "other")

    def looked(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object, **options: object) -> None:
            assert (tmp_path / "ours" / "config.json").exists()
            function(*arguments, **options)

        return call

    with monkeypatch.context() as patched:
        for module, name in ((os, "replace"), (os, "rename"), (shutil, "rmtree")):
            patched.setattr(module, name, looked(getattr(module, name)))
        (tmp_path / "link").symlink_to("ours")
        convert(other, tmp_path / "link", overwrite=True)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["source"]["format"] == "dictionary_learning"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "other", "ours", "source"]


@pytest.mark.parametrize("fails", [None, 2])
def test_where_folders_cannot_be_exchanged_they_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int | None
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text").write_text(name)
    calls = 0

    def replace(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == fails:
            raise OSError(errno.ENOSPC, "full")
        os.rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr("actpipe.convert.exchange.RENAME_EXCHANGE", 1 << 20)  # a flag that no system knows
    with contextlib.nullcontext() if fails is None else pytest.raises(OSError, match="full"):
        exchange(tmp_path / "one", tmp_path / "other")
    texts = [(tmp_path / name / "text").read_text() for name in ("one", "other")]
    assert texts == (["other", "one"] if fails is None else ["one", "other"])
    assert len(list(tmp_path.iterdir())) == 2


def test_a_broken_source_leaves_what_it_should_replace(tmp_path: Path) -> None:
    convert(foreign.saelens(tmp_path / "source"), tmp_path / "ours")
    before = (tmp_path / "ours" / "config.json").read_bytes()
    broken = foreign.saelens(tmp_path / "broken")
    cut(broken / "sae_weights.safetensors")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        convert(broken, tmp_path / "ours", overwrite=True)
    assert (tmp_path / "ours" / "config.json").read_bytes() == before


def test_overwriting_removes_dictionaries_only(tmp_path: Path) -> None:
    source = foreign.saelens(tmp_path / "source")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("1")
    with pytest.raises(ValueError, match="is not the folder of a dictionary, so it is left alone"):
        convert(source, tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def test_the_source_is_not_the_target(tmp_path: Path) -> None:
    source = foreign.saelens(tmp_path / "there" / "source")
    for target in (source, source.parent, source / "inside"):
        with pytest.raises(ValueError, match="name another place"):
            convert(source, target, overwrite=True)


def test_an_empty_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours").mkdir()
    convert(foreign.saelens(tmp_path / "source"), tmp_path / "ours")
    assert (tmp_path / "ours" / "config.json").exists()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    convert(tmp_path / "source", Path("."))
    assert (tmp_path / "here" / "config.json").exists()


def test_verifying_notices_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = foreign.saelens(tmp_path / "source", "jumprelu")
    reads = FORMATS.named("saelens")
    right = reads.reference(source)

    def of(change: Callable[[Answer], Answer]) -> Reference:
        return lambda x: change(right(x))

    x = random_rows(foreign.D, torch.zeros(foreign.D))
    assert compare(right, right, x).agrees
    assert not compare(right, of(lambda a: a._replace(codes=1.001 * a.codes)), x).agrees
    assert not compare(right, of(lambda a: a._replace(rows=a.rows + 0.01)), x).agrees
    assert not compare(right, of(lambda a: a._replace(codes=torch.where(a.codes > 2, a.codes, 0.0))), x).agrees

    monkeypatch.setattr(type(reads), "reference", lambda self, path: of(lambda a: a._replace(codes=2 * a.codes)))
    with pytest.raises(RuntimeError, match="Source and target disagree") as caught:
        convert(source, tmp_path / "ours", verify=True)
    assert getattr(caught.value, "exit_code", None) == 1
    assert not (tmp_path / "ours").exists()


def test_a_dictionary_that_never_fires_is_not_called_verified(tmp_path: Path) -> None:
    source = foreign.saelens(tmp_path / "source", "jumprelu")
    with_tensor(source, "threshold", torch.full((foreign.N,), 1e9))
    with pytest.raises(RuntimeError, match="No feature is active on 1024 random rows, so nothing"):
        convert(source, tmp_path / "ours", verify=True)


def test_the_command(tmp_path: Path) -> None:
    dictionary("topk", k=4).save(tmp_path / "ours")
    done = fresh(tmp_path, "convert", "ours", "there", "--to", "sparsify", "--verify", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["from"], said["to"], said["architecture"]) == ("actpipe", "sparsify", "topk")
    assert (said["features"], said["width"], said["hook"]) == (15, 6, "blocks.1.hook_resid_post")
    assert said["verified"]["random rows"]["codes"] < 1e-4
    done = run(tmp_path, "convert", "there", "back", "--verify")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "sparsify → actpipe: topk, 15 features of rows of width 6"
    assert lines[1].startswith("rows: as the model produces them")
    assert lines[2].startswith("codes: model units")
    assert lines[3].startswith("verified on 1024 random rows")
    assert lines[4] == "written to back"
    done = run(tmp_path, "convert", "there", "back")
    assert done.returncode == 2
    assert done.stderr == (
        "Error: back is there already. Name another place, or give --overwrite to replace a dictionary.\n"
    )
