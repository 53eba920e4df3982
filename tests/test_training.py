from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import actpipe
import sae
from actpipe.errors import Mismatch, Misuse
from actpipe.training.config import HELD_OUT_SHARE, TrainConfig
from actpipe.training.cross_entropy import model_of
from actpipe.training.stage import train

from .training_runs import HOOK, harvested, tensors_of


@pytest.fixture(scope="module")
def store(saved_models: dict[str, Path], text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harvested(saved_models["llama"], text_file, tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.fixture
def config(store: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        store=store, l1=(0.5, 2.0), seeds=2, tokens=4096, batch_size=128, device="cpu", out=tmp_path / "sae"
    )


def test_a_run_folder_is_as_documented(config: TrainConfig, store: Path) -> None:
    result = train(config)
    run = Path(result.out)
    described = json.loads((run / "run.json").read_text())
    assert (described["format"], described["version"]) == ("actpipe-run", 1)
    assert described["store"]["fingerprint"] == actpipe.open_store(store).fingerprint
    assert (run / described["store"]["relative"]).resolve() == store.resolve()
    (group,) = described["config"]["groups"].values()
    assert [member["l1"] for member in group["members"].values()] == [0.5, 0.5, 2.0, 2.0]
    assert json.loads((run / "results.json").read_text())["members"] == result.members
    assert [(m["l1"], m["seed"]) for m in result.members] == [(0.5, 0), (0.5, 1), (2.0, 0), (2.0, 1)]
    assert not (run / "checkpoint").exists()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 32]
    assert all(len(line["members"]) == 4 for line in lines)
    for member in result.members:
        dictionary = sae.load(run / member["path"])
        assert (dictionary.d, dictionary.n) == (32, 64)
        assert dictionary.config["hook"] == HOOK
        assert member["rows"] == 4096
        features = load_file(run / member["path"] / "features.safetensors")
        assert {name: tuple(values.shape) for name, values in features.items()} == dict.fromkeys(
            ("density", "capacity", "mean", "variance", "skew", "kurtosis"), (64,)
        )
        assert float(features["density"].sum()) == pytest.approx(member["l0"], rel=1e-5)
        assert float(features["capacity"].mean()) == pytest.approx(member["capacity"], rel=1e-5)
        assert sum(member["density_histogram"]["counts"]) == round((1 - member["dead"]) * 64)


def test_held_out_numbers_are_those_of_the_saved_dictionary(config: TrainConfig, store: Path) -> None:
    """By brute force: all held-out rows at once, in float64."""
    result = train(config)
    opened = actpipe.open_store(store)
    held_out = torch.from_numpy(opened.held_out(HELD_OUT_SHARE)).flatten()
    x = opened.read(HOOK, 0, opened.rows)[held_out]
    for member in result.members:
        dictionary = sae.load(Path(result.out) / member["path"])
        codes = dictionary.encode(x)
        error = (x.double() - dictionary.decode(codes).double()).square().sum()
        spread = (x.double() - x.double().mean(0)).square().sum()
        assert member["held_out_rows"] == len(x)
        assert member["fvu"] == pytest.approx(float(error / spread), rel=1e-6)
        assert member["l0"] == pytest.approx(float((codes > 0).sum() / len(x)))
        assert member["dead"] == pytest.approx(float((codes == 0).all(0).float().mean()))


def test_a_stronger_penalty_is_sparser_and_loses_more(store: Path, tmp_path: Path) -> None:
    config = TrainConfig(store=store, l1=(0.1, 5.0), tokens=30_000, batch_size=256, device="cpu", out=tmp_path / "sae")
    weak, strong = train(config).members
    assert weak["l0"] > 1.5 * strong["l0"]
    assert weak["fvu"] < strong["fvu"] < 1


def test_running_again_trains_nothing(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(config)
    monkeypatch.setattr(sae.Ensemble, "step", lambda *_: pytest.fail("trained again"))
    assert train(config) == first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": (3e-3,)}, r"lr is \[0.002\] there and \[0.003\] here"),
        ({"seeds": 1}, "seeds is 2"),
        ({"tokens": 9}, "rows is 4096"),
    ],
)
def test_two_runs_are_never_mixed(config: TrainConfig, change: dict[str, Any], named: str) -> None:
    train(config)
    with pytest.raises(Mismatch, match=named):
        train(replace(config, **change))


def test_overwrite_removes_nothing_but_a_run(config: TrainConfig, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(Misuse):
            train(replace(config, out=treasure, overwrite=overwrite))
    assert (treasure / "thesis.txt").read_text() == "mine"


def test_several_hooks_and_widths_are_groups_over_one_store(config: TrainConfig) -> None:
    result = train(replace(config, hook=("blocks.1.*",), expansion=(1, 2), seeds=1, l1=(1.0,)))
    assert [(m["hook"], m["width"]) for m in result.members] == [
        (HOOK, 32), (HOOK, 64), ("blocks.1.mlp.hook_post", 48), ("blocks.1.mlp.hook_post", 96),
    ]  # fmt: skip


def test_a_member_does_not_depend_on_the_others(config: TrainConfig, tmp_path: Path) -> None:
    """To rounding: one member is trained without vmap's batched products."""
    train(config)
    train(replace(config, l1=(2.0,), seeds=1, out=tmp_path / "alone"))
    together, alone = tensors_of(config.out), tensors_of(tmp_path / "alone")
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5)


def test_other_weights_are_refused_when_the_loss_is_measured(
    store: Path, saved_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = actpipe.open_store(store)
    monkeypatch.setitem(opened.config["model"], "fingerprint", "0" * 64)
    with pytest.raises(Mismatch, match="has other weights now"):
        model_of(opened, "cpu")


def test_members_are_matched_with_each_other_beside_chance(config: TrainConfig) -> None:
    result = train(config)
    matching = json.loads((Path(result.out) / "matching.json").read_text())
    assert (matching["format"], matching["version"], matching["pairs_left_out"]) == ("actpipe-matching", 1, 0)
    assert len(matching["pairs"]) == 6
    first = matching["pairs"][0]  # those that differ in the seed alone come first
    assert (first["a"], first["b"]) == (result.members[0]["path"], result.members[1]["path"])
    one, other = (sae.load(Path(result.out) / first[side]).directions for side in "ab")
    assert first["forward"] == pytest.approx(sae.mmcs(one, other))
    assert first["matched"] == pytest.approx(sae.match(one, other).mean)
    assert first["chance_forward"] == pytest.approx(sae.chance_mmcs(64, 32))


def test_seeds_and_rates_are_members(config: TrainConfig) -> None:
    result = train(replace(config, l1=(1.0,), lr=(1e-3, 4e-3), seeds=2, evaluate_loss=False))
    assert [(m["lr"], m["seed"]) for m in result.members] == [(1e-3, 0), (1e-3, 1), (4e-3, 0), (4e-3, 1)]
    assert len({m["fvu"] for m in result.members}) == 4
