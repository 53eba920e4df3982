"""Pages of docs/replications say what their numbers say, and their commands are ones that we have."""

from __future__ import annotations

import math
import re
import shlex

import click
import pandas as pd
import pytest

from cli.__main__ import COMMANDS, Commands
from tests.replications import few_seeds, page, tied_and_l1
from tests.replications.page import Page, drawn, filled, marks

PAGES = [tied_and_l1.PAGE]
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
