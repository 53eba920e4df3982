"""Pages of docs/replications say what their numbers say, and their commands are ones that we have."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from types import SimpleNamespace

import click
import numpy as np
import pandas as pd
import pytest
import torch

from cli.__main__ import COMMANDS, Commands
from tests.replications import (
    clean_and_ablated,
    crate,
    few_seeds,
    page,
    self_ablation,
    sparse_dictionaries,
    tied_and_l1,
    toys,
)
from tests.replications.page import Page, drawn, filled, marks

PAGES = [sparse_dictionaries.PAGE, tied_and_l1.PAGE, self_ablation.PAGE, crate.PAGE]
every_page = pytest.mark.parametrize("one", PAGES, ids=lambda one: one.name)


@every_page
def test_tables_and_figure_are_those_of_the_numbers(one: Page) -> None:
    numbers = one.numbers
    assert filled(one.text, one.tables(numbers)) == one.text
    assert marks(drawn(one.figure(numbers))) == marks(one.svg)


@every_page
def test_other_numbers_make_another_page(one: Page) -> None:
    """So that the test above can fail."""
    other = one.numbers
    other["value"] = other["value"] * 1.5 + 0.01
    assert filled(one.text, one.tables(other)) != one.text
    assert marks(drawn(one.figure(other))) != marks(one.svg)


@every_page
def test_commands_of_a_page_are_ours(one: Page) -> None:
    group = Commands(name="actpipe")
    lines = [line for body in re.findall(r"```bash\n(.*?)```", one.text, re.DOTALL) for line in body.splitlines()]
    words = [shlex.split(re.sub(r"\$\w+", "gpt-relu-0", line)) for line in lines]
    ours = [line[1:] for line in words if line[:1] == ["actpipe"]]
    assert ours
    for name, *options in ours:
        command = group.get_command(click.Context(group), name)
        assert name in COMMANDS
        assert command is not None
        command.make_context(name, options)  # refuses options that there are not


def test_a_table_without_a_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="slots for the tables"):
        filled("<!-- table one -->\n<!-- end -->", {"two": "|"})


def test_a_slot_holds_its_table_however_often_it_is_filled() -> None:
    text = "before\n<!-- table one -->\nold\n<!-- end -->\nafter\n"
    once = filled(text, {"one": page.markdown(["a", "b"], [["1", "2"]])})
    assert once == "before\n<!-- table one -->\n| a | b |\n| --- | --- |\n| 1 | 2 |\n<!-- end -->\nafter\n"
    assert filled(once, {"one": page.markdown(["a", "b"], [["1", "2"]])}) == once


def test_few_seeds_by_hand() -> None:
    mean = few_seeds.mean_of([1.0, 2.0, 3.0])  # t(2) at 97.5 % is 4.3027, the standard error 1/√3
    assert mean == pytest.approx((2.0, 2 - 4.30265 / math.sqrt(3), 2 + 4.30265 / math.sqrt(3), 3), rel=1e-4)
    assert math.isnan(few_seeds.mean_of([1.0]).low)
    assert few_seeds.span_of([1.0, 3.0]) == (2.0, 1.0, 3.0, 2)
    assert few_seeds.between(1.5, [2.0, 1.0], [20.0, 10.0]) == pytest.approx(15.0)
    assert math.isnan(few_seeds.between(2.5, [2.0, 1.0], [20.0, 10.0]))  # never extrapolated


def test_curves_are_compared_at_equal_l0_seed_by_seed() -> None:
    """Untied is 0.1 better at every L0, and its points lie elsewhere: read off at 8 and 16, and not at 32."""
    points = [(l0, 0.9 - 0.1 * math.log2(l0), "tied") for l0 in (4, 16, 24)]
    points += [(l0, 0.8 - 0.1 * math.log2(l0), "untied") for l0 in (2, 8, 64)]
    rows = [(l0, fvu, kind, "2 d", seed) for l0, fvu, kind in points for seed in (0, 1)]
    members = pd.DataFrame(rows, columns=["l0", "fvu", "architecture", "width", "seed"])
    found = {row[0]: row[4:] for row in tied_and_l1.at_equal_l0(members)}
    assert sorted(found) == ["fvu_at_l0_16", "fvu_at_l0_8"]
    assert found["fvu_at_l0_16"] == pytest.approx([-0.1, -0.1, -0.1, 2])


def test_likeness_leaves_out_pairs_of_one_seed_and_other_penalties() -> None:
    members = pd.DataFrame(
        {
            "path": ["t0", "t1", "u1", "u1-other"],
            "architecture": ["tied", "tied", "untied", "untied"],
            "width": ["2 d"] * 4,
            "expansion": [2.0] * 4,
            "l1": [1.0, 1.0, 1.0, 2.0],
            "seed": [0, 1, 1, 1],
        }
    ).set_index("path")
    pairs = pd.DataFrame(
        [("t0", "t1", 0.3, 0.5), ("t0", "u1", 0.6, 0.7), ("t1", "u1", 9.0, 9.0), ("t0", "u1-other", 9.0, 9.0)],
        columns=["a", "b", "forward_above_chance", "backward_above_chance"],
    )
    found = {row[1]: row[4:] for row in tied_and_l1.alike(members, pairs)}
    assert found == {
        "tied in tied": [0.4, 0.3, 0.5, 2],
        "tied in untied": [0.6, 0.6, 0.6, 1],
        "untied in tied": [0.7, 0.7, 0.7, 1],
    }


def test_a_dictionary_of_a_toy_does_not_begin_as_the_truth() -> None:
    """Truths and dictionaries draw their directions in the same way, so the same seed would give the same ones."""
    toy = dataclasses.replace(toys.TOYS[0], seeds=2, steps=1, l1=(1.0,))
    found = {row[1]: row[4] for row in toys.on_toy(toy) if row[3] == "mmcs"}
    assert found["dictionary"] == pytest.approx(found["random directions"], abs=0.03)
    assert found["ICA"] > found["random directions"] + 0.2


def test_baselines_keep_what_dictionaries_of_their_hook_do_at_the_median() -> None:
    members = pd.DataFrame(
        [
            ("a", "relu", 10, 10, 4.0, 4.1, 1),
            ("a", "relu", 10, 10, 6.0, 6.1, 1),
            ("a", "pca", 20, 10, math.nan, 1.0, 2),
            ("b", "native", 40, 10, math.nan, 2.0, 1),
            ("b", "native", 40, 10, math.nan, 2.0, 2),
        ],
        columns=["hook", "architecture", "width", "units", "l0", "analysed_l0", "signs"],
    )
    assert sparse_dictionaries.firing(members).tolist() == [4.0, 6.0, 5.0, 8.0, 16.0]


def test_l0_is_read_between_the_points_of_a_sweep_and_not_beyond() -> None:
    members = [{"l0": l0, "delta_ce": ce} for l0, ce in ((4.0, 0.3), (16.0, 0.1))]
    assert self_ablation.l0_at(0.2, members, "delta_ce") == pytest.approx(8.0)
    assert math.isnan(self_ablation.l0_at(0.05, members, "delta_ce"))


def test_losses_are_summed_over_documents_of_counted_tokens() -> None:
    """A model that knows nothing of 8 tokens gives log 8 nats to each; one that is sure and right none."""
    store = SimpleNamespace(
        context=4,
        tokens=np.array([[0, 1, 2, 3], [0, 1, 2, 3]], np.int32),
        mask=np.array([[False, True, True, True], [False, True, True, False]]),
        doc=np.array([[0, 0, 1, 1], [1, 1, 1, 1]], np.int32),
    )
    sure = 100.0 * torch.nn.functional.one_hot(torch.tensor([[1, 2, 3, 0]] * 2), 8).float()
    network = SimpleNamespace(logits=lambda ids: torch.zeros(*ids.shape, 8), ablated_logits=lambda ids: sure)
    read = clean_and_ablated.predictions(store, network)
    nats, tokens = read["clean"]
    assert tokens.tolist() == [1, 4]
    assert nats.tolist() == pytest.approx([math.log(8), 4 * math.log(8)])
    found = {tuple(row[:2]): row[3:] for row in clean_and_ablated.losses(read, {"clean": read["ablated"]})}
    assert found["perplexity", "clean"] == pytest.approx([8, 8, 8, 2])
    assert found["perplexity", "ablated"] == pytest.approx([1, 1, 1, 2])
    assert found["above_twin", "clean"] == pytest.approx([math.log(8)] * 3 + [2])
