"""A saved ensemble continues with the same bits as one that was never stopped."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import sae
from sae.files import read_tensors

D, WIDTH = 8, 16
SCHEDULE = sae.Schedule(steps=60, lr_warmup=10, lr_decay=20, sparsity_warmup=15)
MEMBERS = [{"l1": 0.1, "seed": 0}, {"l1": 2.0, "lr": 3e-3, "seed": 1, "clip": 0.5}]


def fresh():
    sample = torch.randn(200, D, generator=torch.Generator().manual_seed(9))
    return sae.Ensemble.create(sae.ReLU(), MEMBERS, d=D, width=WIDTH, sample=sample, schedule=SCHEDULE, dead_after=100)


def batches(start=0):
    for step in range(start, 60):
        yield torch.randn(32, D, generator=torch.Generator().manual_seed(step))


def states_are_equal(one, two):
    return all(
        torch.equal(a[name], b[name])
        for a, b in ((one.params, two.params), (one.adam.mean, two.adam.mean), (one.adam.square, two.adam.square))
        for name in a
    ) and all(
        torch.equal(a, b) for a, b in ((one.adam.steps, two.adam.steps), (one.idle, two.idle), (one.frozen, two.frozen))
    )


@pytest.mark.parametrize("stopped_at", [1, 23, 45])
def test_resuming_gives_the_same_bits_as_not_stopping(tmp_path, stopped_at):
    through = fresh()
    reports = list(sae.fit(through, batches(), steps=60))

    stopped = fresh()
    list(sae.fit(stopped, batches(), steps=stopped_at))
    sae.save_checkpoint(tmp_path / "state.safetensors", stopped, extra={"batch": stopped_at})
    resumed, extra = sae.load_checkpoint(tmp_path / "state.safetensors")
    assert extra == {"batch": stopped_at}
    assert states_are_equal(stopped, resumed)
    later = list(sae.fit(resumed, batches(extra["batch"]), steps=60, start=extra["batch"]))

    assert states_are_equal(through, resumed)
    assert torch.equal(reports[-1].loss, later[-1].loss)
    assert (resumed.steps, resumed.rows, resumed.dead_after) == (60, 60 * 32, 100)
    assert (resumed.architecture, resumed.members, resumed.schedule) == (sae.ReLU(), through.members, SCHEDULE)


KINDS = {
    "widths": ("relu", [{"l1": 0.1, "width": 16}, {"width": 5}], {"coder": "dense"}),
    "sparse": ("relu", [{"l1": 0.1, "width": 16}, {"width": 5}], {"coder": "sparse"}),
    "chosen": ("relu", [{"l1": 0.5, "width": 16}, {"l1": 5.0}], {"coder": "auto"}),
    "bfloat16": ("topk", [{"k": 2}, {"k": 3, "width": 5}], {"precision": "bfloat16"}),
    "buffers": ("batch_topk", [{"k": 2}, {"k": 3, "width": 5}], {}),
    "annealed": ("p_anneal", [{"l1": 0.5}], {"resampling": sae.Resampling(every=9, until=40)}),
    "jumps": ("jumprelu", [{"target_l0": 3}], {"dtype": torch.float64, "betas": (0.0, 0.999)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_a_step_depends_on_is_saved(tmp_path, kind):
    name, members, how = KINDS[kind]

    def started():
        architecture = sae.get_architecture(name)()
        return sae.Ensemble.create(
            architecture, members, d=D, width=WIDTH, schedule=SCHEDULE, **{"dead_after": 100, **how}
        )

    through, stopped = started(), started()
    list(sae.fit(through, batches(), steps=60))
    list(sae.fit(stopped, batches(), steps=23))
    sae.save_checkpoint(tmp_path / "state", stopped)
    resumed, _ = sae.load_checkpoint(tmp_path / "state")
    list(sae.fit(resumed, batches(23), steps=60, start=23))
    assert states_are_equal(through, resumed)
    for field in dataclasses.fields(sae.Ensemble):
        if field.name not in ("params", "adam", "idle", "frozen"):
            assert getattr(resumed, field.name) == getattr(through, field.name), field.name
    assert resumed.adam.betas == through.adam.betas


def test_the_same_state_gives_the_same_file(tmp_path):
    for name in ("a", "b"):
        sae.save_checkpoint(tmp_path / name, fresh(), extra={"x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b"}  # no temporary files are left


def test_a_frozen_member_stays_frozen(tmp_path):
    ensemble = fresh()
    ensemble.params["W_dec"][0] = torch.inf
    list(sae.fit(ensemble, batches(), steps=3))
    sae.save_checkpoint(tmp_path / "state", ensemble)
    resumed, _ = sae.load_checkpoint(tmp_path / "state")
    assert resumed.step(torch.ones(4, D)).frozen_members == [0]
    assert resumed.adam.steps.tolist() == [0, 4]


def test_a_checkpoint_is_read_by_other_tools(tmp_path):
    sae.save_checkpoint(tmp_path / "state", fresh())
    with safe_open(tmp_path / "state", framework="np") as file:
        assert file.get_tensor("params.W_enc").shape == (2, WIDTH, D)
        assert json.loads(file.metadata()["actpipe"])["architecture"] == "relu"


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path):
    sae.save_checkpoint(tmp_path / "state", fresh())
    before = (tmp_path / "state").read_bytes()
    with pytest.raises(TypeError):
        sae.save_checkpoint(tmp_path / "state", fresh(), extra={"x": object()})
    assert (tmp_path / "state").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_replace(path):
    path.write_bytes(b"not a checkpoint")


def damage_rename_tensor(path):
    tensors, header = read_tensors(path)
    tensors["adam.mean.W_new"] = tensors.pop("adam.mean.W_enc").clone()
    save_file(tensors, path, metadata={"actpipe": json.dumps(header)})


def damage_version(path):
    tensors, header = read_tensors(path)
    save_file(tensors, path, metadata={"actpipe": json.dumps({**header, "version": 99})})


def damage_header(**changes):
    def damage(path):
        tensors, header = read_tensors(path)
        header = {key: value for key, value in {**header, **changes}.items() if value is not None}
        save_file(tensors, path, metadata={"actpipe": json.dumps(header)})

    return damage


def damage_tensor(name, change):
    def damage(path):
        tensors, header = read_tensors(path)
        tensors[name] = change(tensors[name]).contiguous()
        save_file(tensors, path, metadata={"actpipe": json.dumps(header)})

    return damage


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (damage_header(version=1), "version 1; this actpipe reads version 2"),
        (damage_header(members=None), "no checkpoint that this actpipe wrote .*members"),
        (damage_header(members=[]), "no members"),
        (damage_header(schedule={"steps": 5, "speed": 1}), "no checkpoint that this actpipe wrote .*speed"),
        (damage_header(architecture="gelu"), "no architecture 'gelu'"),
        (damage_header(coder="fast"), "coder 'fast' is unknown"),
        (damage_header(density=[0.5]), "density of 1 members and has 2"),
        (damage_header(step="5"), "step '5', which is no whole number from 0 up"),
        (damage_header(dead_after=0), "dead_after 0, which is no whole number from 1 up"),
        (damage_header(adam={"betas": ["a", 0.9], "eps": 1e-8}), "has 'a' where a number should be"),
        (damage_header(members=[{"width": 16, "clip": None, "hyper": {}}] * 2), "sets nothing; of .*'relu' it sets l1"),
        (damage_header(members=[{"width": 16, "clip": None, "hyper": {"l1": -1.0}}] * 2), "l1 .*must be from 0 up"),
        (damage_header(d=9), r"'params\.W_enc' has shape \[2, 16, 8\], not \[2, 16, 9\]"),
        (damage_tensor("idle", torch.Tensor.float), "'idle' is torch.float32, not torch.int64"),
        (damage_tensor("params.W_enc", torch.Tensor.half), "torch.float16"),
        (damage_tensor("adam.mean.W_enc", lambda t: t[:1]), r"'adam\.mean\.W_enc' has shape"),
        (lambda path: save_file({"W": torch.ones(2)}, path), "is not an actpipe-ensemble"),
        (lambda path: torch.save({"W": torch.ones(2)}, path), "state is missing or damaged"),
        (damage_truncate, "state is missing or damaged"),
        (damage_replace, "state is missing or damaged"),
        (damage_rename_tensor, r"lacks the tensor 'adam\.mean\.W_enc'"),
        (damage_version, "version 99; this actpipe reads version 2"),
        (lambda path: path.unlink(), "state is missing or damaged"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_said(tmp_path, damage, sentence):
    path = tmp_path / "state"
    sae.save_checkpoint(path, fresh())
    damage(path)
    with pytest.raises(ValueError, match=sentence):
        sae.load_checkpoint(path)
