"""The compute column: FLOPs of training, counted on models and dictionaries; what is not known is not zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import sae
from actpipe import shipped
from actpipe.compare.compute import flops_of_dictionary, flops_of_model, training_of
from actpipe.compare.matching import matching_rows
from actpipe.compare.words import arm_rows
from actpipe.files import write_json
from actpipe.harvest.model import load_model
from tests.test_compare_designs import arm, of
from tests.tiny_model import TINY, save_tiny


def finished(folder: Path, **config: Any) -> str:
    """A folder as `actpipe train-lm` leaves it, trained on 1,000 tokens."""
    save_tiny(folder, seed=0)
    (folder / "training").mkdir()
    run = {"format": "actpipe-lm-run", "version": 1, "config": {"context": 16, **config}}
    write_json(folder / "training" / "run.json", run)
    write_json(folder / "training" / "results.json", {"tokens": 1000})
    return str(folder)


def dictionary(n: int, d: int, **training: Any) -> sae.Dictionary:
    params = {"W_enc": torch.ones(n, d), "b_enc": torch.zeros(n), "W_dec": torch.eye(n, d), "b_dec": torch.zeros(d)}
    scaling = sae.Scaling(torch.zeros(d), 1.0)
    return sae.Dictionary.trained(sae.ReLU(), params, hyper={"l1": 1.0}, scaling=scaling, config={"training": training})


def test_flops_of_a_model_are_those_of_arithmetic(tmp_path: Path) -> None:
    """Of a token 2 for each weight of a product, and in each layer 2 · context · d for scores and for their sums."""
    d, layers, mlp, context, vocabulary = TINY.d_model, TINY.n_layers, TINY.d_mlp, TINY.context, TINY.vocabulary
    products = layers * (4 * d * d + 2 * d * mlp) + vocabulary * d
    forward = 2 * products + layers * 2 * (2 * context * d)
    assert flops_of_model(load_model(finished(tmp_path / "lm"), device="cpu")) == 3 * forward * 1000


def test_streams_that_only_training_runs_are_counted() -> None:
    """A self-ablating model deploys a gpt, and trains a second stream and gates beside it."""
    ablating, dense = (flops_of_model(load_model(f"actpipe:{name}", device="cpu"))
                       for name in ("self-ablating-local-0", "gpt-relu-0"))  # fmt: skip
    assert ablating is not None
    assert dense is not None
    tokens = [shipped.card(f"actpipe:{name}")["tokens"] for name in ("self-ablating-local-0", "gpt-relu-0")]
    assert ablating / tokens[0] > 2 * dense / tokens[1] > 0


def test_of_a_dense_dictionary_each_row_takes_twelve_for_each_weight() -> None:
    assert flops_of_dictionary(dictionary(6, 4, steps=10, rows=500)) == 12 * 500 * 4 * 6


def test_what_is_not_known_is_not_counted(tmp_path: Path) -> None:
    save_tiny(tmp_path / "bare", seed=0)
    begun = finished(tmp_path / "begun", start_from="0" * 64)
    names = [str(tmp_path / "bare"), begun, "actpipe:gpt-relu-0@init", "actpipe:t5-0"]
    assert [flops_of_model(load_model(name, device="cpu")) for name in names] == [None] * 4
    assert training_of(str(tmp_path / "bare")) is None
    assert training_of(begun) is not None
    assert flops_of_dictionary(dictionary(6, 4, rows=500, seconds=1.0)) is None  # a baseline
    assert flops_of_dictionary(dictionary(6, 4)) is None  # of another library


def test_arms_show_what_their_training_took(tmp_path: Path) -> None:
    arms = [
        arm(tmp_path, "both", level=0.5, seeds=2, n=40, twin=None, flops=(2 * 10**15, 5 * 10**14)),
        arm(tmp_path, "none", level=0.5, seeds=2, n=40, twin=None, start=1, flops=(None, 10**14)),
        arm(tmp_path, "baseline", level=0.5, seeds=2, n=40, twin=None, start=2, flops=(10**15, None)),
    ]
    found = of(*arms)
    assert [each["flops"] for each in found["arms"]] == [[2.5e15, 2.5e15], [], []]
    (row,) = [row for row in matching_rows(found["arms"]) if row[0] == "FLOPs in training"]
    assert row[1:] == ["2.50e15", "unknown", "unknown"]
    assert [row[1] for row in arm_rows(found["arms"], found["tables"]["means"])] == ["FLOPs", *row[1:]]
    means = {row["arm"]: row["flops"] for row in found["tables"]["means"]}
    assert means == {"both": 2.5e15, "none": None, "baseline": None}


def test_levels_that_took_more_are_shown_as_a_range(tmp_path: Path) -> None:
    arms = [arm(tmp_path, name, level=0.5, seeds=1, n=40, twin=None, start=i, flops=(10**15, 0))
            for i, name in enumerate(("a", "b"))]  # fmt: skip
    found = of(*arms)
    found["arms"][0]["flops"] = [1e15, 3e15]
    (row,) = [row for row in matching_rows(found["arms"]) if row[0] == "FLOPs in training"]
    assert row[1:] == ["1.00e15 to 3.00e15", "1.00e15"]
    assert arm_rows(found["arms"], found["tables"]["means"])[1][1] == "≤ 3.00e15"
