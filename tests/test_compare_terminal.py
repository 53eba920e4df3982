"""What `actpipe compare` prints: five arms on a screen and a half, and nothing that the summary lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actpipe.compare.lints import counted
from actpipe.compare.matching import matching_rows
from actpipe.compare.words import design_rows, markdown, summary_of
from cli.comparison_lines import comparison_lines
from tests.test_compare_designs import arm, of

ROWS = 24  # of a terminal


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Arms of which most cannot be matched."""
    place = tmp_path_factory.mktemp("five")
    arms = [
        arm(place, "crate-lambda-small", level=0.6, seeds=2, n=60, points=((5.0, 20.0), (5.1, 14.0))),
        arm(place, "gpt-relu", level=0.5, seeds=2, n=60, start=1, points=((4.9, 60.0),), parameters=1300),
        arm(place, "topk-on-gpt-relu", level=0.55, seeds=1, n=60, start=2, twin=None),
        arm(place, "self-ablating", level=0.45, seeds=2, n=60, start=3, points=((5.3, 9.0),)),
        arm(place, "jumprelu-on-gpt-relu", level=0.5, seeds=1, n=60, start=4, twin=None, trained_tokens=None),
    ]
    return {**of(*arms), "out": "actpipe-out/compare"}


@pytest.mark.parametrize("width", [80, 100, 140])
def test_five_arms_take_a_screen_and_a_half(five: dict[str, Any], width: int) -> None:
    lines = list(comparison_lines(five, five["tables"], width))
    assert max(map(len, lines)) <= width
    assert len(lines) <= 1.75 * ROWS if width == 80 else 1.5 * ROWS
    assert lines[0].startswith("Of 10 pairs of arms, none has a better one; ")
    assert sum(line.split("  ")[0] in ("withheld", "no overlap", "undecided") for line in lines) == 10
    for one in five["arms"]:
        assert sum(line.startswith(one["arm"]) for line in lines) == 1
    said = " ".join(" ".join(lines).split())
    for each in counted(five["lints"], 5):
        assert f"{each.name} ({each.times} of {each.of} {each.what})" in said


def test_lints_that_withhold_claims_are_counted_first(five: dict[str, Any]) -> None:
    found = counted(five["lints"], 5)
    assert sum(each.times for each in found) == len(five["lints"])
    assert (found[0].name, found[0].times, found[0].of, found[0].what) == ("few seeds", 5, 5, "arms")
    withhold = [each.number in (1, 3, 4, 15, 16) for each in found]
    assert withhold == sorted(withhold, reverse=True)
    assert not all(withhold)


def test_the_summary_says_all_that_the_terminal_leaves_out(five: dict[str, Any]) -> None:
    summary = summary_of(five, five["tables"], {})
    for said in (*five["claims"], *five["verdicts"], *(lint["text"] for lint in five["lints"])):
        assert f"{said}\n" in summary
    for rows in (matching_rows(five["arms"]), design_rows(five["tables"]["designs"])):
        assert markdown(rows) in summary


def test_of_two_arms_the_claim_is_said_whole(tmp_path: Path) -> None:
    found = of(arm(tmp_path, "good", level=0.7), arm(tmp_path, "plain", level=0.5, start=1))
    lines = list(comparison_lines({**found, "out": "compare"}, found["tables"], 100))
    assert lines[0].startswith("good is better than plain at matched loss and L0. It holds at equal parameters")
    assert len(lines) < ROWS


def test_a_pair_with_a_better_arm_is_counted_and_named(tmp_path: Path) -> None:
    arms = [arm(tmp_path, name, level=level, start=i) for i, (name, level) in enumerate(
        (("plain", 0.5), ("good", 0.7), ("other", 0.5))
    )]  # fmt: skip
    found = of(*arms)
    lines = list(comparison_lines({**found, "out": "compare"}, found["tables"], 100))
    assert lines[0].startswith("Of 3 pairs of arms, 2 have a better one; 1 ")
    assert " ".join(lines[2].split()) == "better good than plain, at matched loss and L0"
