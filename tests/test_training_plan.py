"""What is asked for → what will be trained: pure, so every rule is checked on two hooks that do not exist."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import sae
from actpipe.errors import ActpipeError, Missing, Misuse
from actpipe.training.config import DERIVED, TrainConfig
from actpipe.training.fields import trainable_names
from actpipe.training.grids import active_grid, l1_grid, parse_grid
from actpipe.training.group import Group
from actpipe.training.plan import plan
from actpipe.training.presets import PRESETS, preset_options

HOOKS = {"small": 256, "large": 1024}


def planned(**options: Any) -> tuple[Group, ...]:
    return plan(TrainConfig(**options), HOOKS, raw_unit=lambda reads: 100.0)


def settings(groups: tuple[Group, ...], *fields: str) -> list[tuple[float, ...]]:
    return [tuple(member.settings[field] for field in fields) for group in groups for member in group.members]


def test_nothing_asked_for_is_a_derived_grid_of_penalties() -> None:
    (group,) = planned()
    assert (group.name, group.d, group.reads.hooks) == ("small-relu", 256, ("small",))
    assert [m.settings["l1"] for m in group.members] == list(l1_grid(256))
    assert {m.settings["width"] for m in group.members} == {512}
    assert group.members[0].name == "small-relu-x2-l1_0.667-s0"
    assert planned(l1=DERIVED) == (group,)


def test_a_grid_is_the_product_of_its_axes_and_widths_vary_slowest() -> None:
    (group,) = planned(l1=(1.0, 2.0), expansion=(1.0, 4.0), lr=(1e-3, 2e-3), seeds=2, seed=5)
    found = settings((group,), "width", "l1", "lr", "seed")
    assert len(set(found)) == len(found) == 16
    assert found[:5] == [(256, 1, 1e-3, 5), (256, 1, 1e-3, 6), (256, 1, 2e-3, 5), (256, 1, 2e-3, 6), (256, 2, 1e-3, 5)]
    assert [width for width, *_ in found] == [256] * 8 + [1024] * 8
    names = [member.name for member in group.members]
    assert len(set(names)) == 16
    assert names[0] == "small-relu-x1-l1_1-lr_0.001-s5"


def test_every_kind_can_be_planned_without_saying_more_than_its_hooks() -> None:
    for name in trainable_names():
        kind = sae.get_architecture(name)
        more: dict[str, Any] = {"pair": {"target_hook": ("large",)}, "blocks": {"hook": ("*",)}, "row": {}}[kind.reads]
        (group,) = planned(architecture=name, **more)
        assert group.is_fitted == issubclass(kind, sae.Fitted)
        assert len({member.name for member in group.members}) == len(group.members)


def test_each_kind_takes_the_fields_it_has() -> None:
    relu, topk, jumprelu = planned(architecture="relu,topk,jumprelu", l1=(1.0,), k=(8.0, 16.0), set=("auxk=0.5",))
    assert settings((relu,), "l1") == [(1.0,)]
    assert settings((topk,), "k", "auxk") == [(8.0, 0.5), (16.0, 0.5)]
    assert settings((jumprelu,), "target_l0") == [(k,) for k in active_grid(256)]


def test_fixed_fields_make_groups_and_swept_ones_members() -> None:
    groups = planned(architecture="tied", l1=(1.0,), sweep=("whiten=false,true", "bias_decay=0,0.1"))
    assert [group.name for group in groups] == ["small-tied-whiten_False", "small-tied-whiten_True"]
    assert [group.architecture.fixed() for group in groups] == [{"whiten": False}, {"whiten": True}]
    assert settings(groups, "bias_decay") == [(0.0,), (0.1,)] * 2


def test_a_list_is_one_value_of_a_field_that_is_a_list() -> None:
    (group,) = planned(architecture="matryoshka", set=("groups=0.25,0.75",))
    assert group.architecture.fixed()["groups"] == (0.25, 0.75)


def test_settings_of_a_member_can_be_swept_too() -> None:
    assert settings(planned(l1=(1.0,), sweep=("clip=0.5,1",)), "clip") == [(0.5,), (1.0,)]


def test_a_grid_of_k_is_about_a_transcoder_that_keeps_k() -> None:
    (relu,) = planned(architecture="transcoder", target_hook=("large",))
    (topk,) = planned(architecture="transcoder", target_hook=("large",), k=(8.0,))
    assert (relu.architecture.fixed(), topk.architecture.fixed()) == ({"gate": "relu"}, {"gate": "topk"})
    assert "k" not in relu.members[0].settings
    assert "l1" not in topk.members[0].settings
    assert len(planned(architecture="transcoder", target_hook=("large",), k=(8.0,), l1=(1.0,))) == 2


def test_hooks_are_read_as_the_kind_reads_them() -> None:
    both = planned(architecture="relu,crosscoder", hook=("*",), l1=(1.0,))
    assert [(group.reads.hooks, group.d, group.architecture.name) for group in both] == [
        (("small",), 256, "relu"),
        (("large",), 1024, "relu"),
        (("small", "large"), 1280, "crosscoder"),
    ]
    assert both[2].architecture.fixed()["blocks"] == (256, 1024)
    (pair,) = planned(architecture="skip_transcoder", hook=("large",), target_hook=("small",))
    assert (pair.reads.name, pair.d, pair.out) == ("large-to-small", 1024, 256)


def test_groups_of_the_same_rows_are_neighbours_so_that_they_share_one_read() -> None:
    groups = planned(architecture="relu,topk", hook=("small", "large"))
    assert [group.reads.name for group in groups] == ["small", "small", "large", "large"]


def test_baselines_have_their_own_widths_and_no_learning_rate() -> None:
    relu, pca, random = planned(architecture="relu,pca,random", expansion=(0.5, 4.0), seeds=2, l1=(1.0,))
    assert [m.settings["width"] for m in relu.members] == [128, 128, 1024, 1024]
    assert settings((pca,), "width", "seed") == [(128, 0)]  # no more components than numbers, and nothing drawn
    assert settings((random,), "width", "seed") == [(128, 0), (128, 1), (1024, 0), (1024, 1)]
    assert "lr" not in pca.members[0].settings
    (split,) = planned(architecture="pca", set=("split=true",))
    assert split.members[0].settings["width"] == 512


def test_raw_penalties_are_turned_into_units_of_training() -> None:
    (group,) = planned(l1=(1e-3, 1e-2), l1_units="raw")
    assert settings((group,), "l1") == [(0.1,), (1.0,)]


def test_grids_are_what_was_typed() -> None:
    assert parse_grid("auto", "--l1-sweep") == DERIVED
    assert parse_grid("1,2.5,0", "--l1-sweep") == (1.0, 2.5, 0.0)
    assert parse_grid("1e-4:1e-2:3", "--l1-sweep") == (1e-4, 1e-3, 1e-2)
    assert parse_grid("3:3:1", "--l1-sweep") == (3.0,)


@pytest.mark.parametrize(
    "text",
    [
        "1e-4:x:3",
        "1:2",
        "1:2:0",
        "1:2:1.5",
        "2:1:3",
        "0:1:3",
        "a",
        "",
        "1,1",
        "1,1.0000001",
        "nan",
        "-1",
        "1:2:999999999",
    ],
)
def test_a_malformed_grid_is_one_sentence(text: str) -> None:
    with pytest.raises(Misuse, match="--k-sweep"):
        parse_grid(text, "--k-sweep")


def test_a_grid_that_swallowed_the_store_is_told_from_a_malformed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acts").mkdir()
    for place in ("notes.zarr", "s3://bucket/store", "acts"):
        with pytest.raises(Misuse, match=f"took '{place}', .* `actpipe train-sae {place} --l1-sweep`"):
            parse_grid(place, "--l1-sweep")


def test_a_derived_grid_grows_with_the_root_of_the_width() -> None:
    assert l1_grid(576) == (1.0, 1.52, 2.3, 3.48, 5.28, 8.0)
    assert l1_grid(4 * 576)[0] == 2 * l1_grid(576)[0]
    assert active_grid(576) == (8.0, 16.0, 32.0, 64.0, 128.0)
    assert active_grid(6) == (1.0,)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"architecture": "perceptron"}, r"There is no architecture 'perceptron'; there is .*relu"),
        ({"architecture": "tpok"}, "did you mean topk"),
        ({"architecture": "imported"}, "converted, not trained"),
        ({"architecture": "relu,relu"}, "twice"),
        ({"architecture": "topk", "l1": (1.0,)}, r"--l1-sweep does not fit topk; use --k-sweep\."),
        ({"architecture": "gated", "l0": (9.0,)}, r"--l0-sweep does not fit gated; use --l1-sweep\."),
        ({"architecture": "relu,gated", "k": (9.0,)}, r"does not fit relu, gated; use --l1-sweep\."),
        ({"sweep": ("l2=1",)}, r"--sweep l2: relu has no such field; its fields are l1\."),
        ({"architecture": "jumprelu", "set": ("bandwith=1",)}, "did you mean bandwidth"),
        ({"architecture": "crosscoder", "hook": ("*",), "set": ("blocks=1,2",)}, "no such field"),
        ({"set": ("l1",)}, "--set l1 is not FIELD=VALUE"),
        ({"sweep": ("=1",)}, "FIELD=A,B,C"),
        ({"l1": (1.0,), "set": ("l1=2",)}, "set twice"),
        ({"architecture": "rica", "set": ("penalty=l3",)}, "'l3' is none of smooth_l1, l1"),
        ({"architecture": "tied", "set": ("whiten=yes",)}, "neither true nor false"),
        ({"architecture": "topk", "k": (600.0,)}, "k must be a whole number from 1 to the 512 features"),
        ({"architecture": "topk", "k": (2.5,)}, "must be a whole number"),
        ({"l1": (-1.0,)}, "l1 of architecture 'relu' must be from 0 up, not -1"),
        ({"hook": ("nowhere",)}, "no hook 'nowhere'; it has small, large"),
        ({"architecture": "transcoder"}, "--target-hook"),
        ({"architecture": "transcoder", "target_hook": ("*",)}, "1 hooks have 2 targets"),
        ({"target_hook": ("large",)}, "--target-hook is for transcoders"),
        ({"architecture": "crosscoder", "hook": ("small",)}, "two or more"),
        ({"architecture": "transcoder", "target_hook": ("large",), "set": ("gate=relu", "k=3")}, "has no effect"),
        ({"architecture": "transcoder", "target_hook": ("large",), "set": ("gate=swish",)}, "'swish' is none of"),
        ({"expansion": (2.0, 2.0)}, "twice"),
        ({"expansion": (0.0,)}, "must be positive"),
        ({"expansion": (2.0, 2.001)}, r"2,2.001 gives the same number of features twice for .* 256 \(512, 512\)"),
        ({"lr": (1e-3, 0.00100000001)}, "names the same value twice"),
        ({"architecture": "tied", "sweep": ("whiten=true,true",)}, "whiten true,true names the same value twice"),
        ({"seeds": 10**9}, "has 6,000,000,000 members; at most 10,000"),
        ({"architecture": "relu,gated", "seeds": 900}, "has 10,800 members; at most 10,000"),
        ({"architecture": "transcoder", "target_hook": ("small",)}, "small would be predicted from itself"),
        ({"lr": (math.inf,)}, "must be positive and finite"),
        ({"lr_decay": 2.0}, "from 0 to 1"),
        ({"seeds": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises((Misuse, Missing), match=sentence) as raised:
        planned(**options)
    assert isinstance(raised.value, ActpipeError)
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)


def test_a_name_that_no_folder_can_have_is_refused_before_training() -> None:
    with pytest.raises(Misuse, match=r"^hook-h+-relu.* is too long for the name of a folder; sweep fewer fields"):
        plan(TrainConfig(l1=(1.0,)), {"hook-" + 190 * "h": 16}, raw_unit=lambda reads: 1.0)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_grids(name: str) -> None:
    groups = plan(TrainConfig(**preset_options(name)), {"hook": 512}, raw_unit=lambda reads: 1000.0)
    sizes = {"dense-l1-range": 2 * 7 * 16, "tied-vs-untied": 2 * 4 * 3 * 3, "topk": 4 * 16, "dict-ratio": 8 * 12}
    assert sum(len(group.members) for group in groups) == sizes.get(name, sum(len(g.members) for g in groups)) > 0


def test_an_unknown_preset_is_one_sentence() -> None:
    with pytest.raises(Misuse, match="no preset 'topp'; did you mean topk"):
        preset_options("topp")
