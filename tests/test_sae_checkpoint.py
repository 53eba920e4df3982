"""A saved ensemble continues with the same bits as one that was never stopped."""

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


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
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
