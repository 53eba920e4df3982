"""Where arms can be compared, what they offer as a whole, and what may be claimed of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actpipe.compare import CompareConfig
from actpipe.compare.arm import Arm, arm_of, opened_made
from actpipe.compare.asked import Asked, asked_arms, asked_twins
from actpipe.compare.designs import matching_weights
from actpipe.compare.hypervolume import hypervolume
from actpipe.compare.measures import metrics
from actpipe.compare.stage import compared
from actpipe.errors import Misuse
from actpipe.progress import silent
from tests.planted_arms import Planted, write_made

TWO = ("rules_f1_std", "concept_f1_std")


def arm(
    tmp_path: Path,
    name: str,
    *,
    level: float,
    twin: float | None = 0.2,
    seeds: int = 5,
    start: int = 0,
    layers: int = 2,
    n: int = 150,
    points: Sequence[tuple[float, float]] = ((5.0, 20.0),),
    **said: Any,
) -> Arm:
    """`seeds` models, and levels at `points` of (loss, L0_eff); scores around `level`, of the twin around `twin`."""

    def made(which: str, score: float, number: int, at: tuple[float, float], place: int) -> Any:
        units = [
            Planted(seed=1000 * start + 100 * number + 10 * place + i, n=n, level=score, metrics=TWO)
            for i in range(layers)
        ]
        architecture = said.get("architecture") or {"name": "gpt", "activation": "relu"}
        about = {**said, "architecture": architecture | {"lam": place}, "model": f"{which}-{number}"}
        folder = write_made(tmp_path / f"{which}-{number}-{place}", units, loss=at[0], l0=at[1], **about)
        return opened_made(folder, which)

    asked = Asked(name=name, sources=())
    reports = [made(name, level, i, at, j) for i in range(seeds) for j, at in enumerate(points)]
    if twin is None:
        return arm_of(asked, reports, TWO)
    untrained = [made(f"{name}@init", twin, i, (8.3, 150.0), 0) for i in range(seeds)]
    return arm_of(asked, reports, TWO, arm_of(asked, untrained, TWO))


def of(*arms: Arm) -> dict[str, Any]:
    config = CompareConfig(arms=tuple(each.name for each in arms), out=Path("unused"))
    found, tables = compared(arms, [each for each in metrics() if each.name in TWO], config, silent)
    return {**found, "tables": tables}


def claim(found: dict[str, Any]) -> tuple[str, bool]:
    (row,) = found["tables"]["claims"]
    return row["claim"], row["exploratory"]


def fired(found: dict[str, Any]) -> set[int]:
    return {lint["number"] for lint in found["lints"]}


def test_a_planted_better_arm_is_claimed_better_from_either_side(tmp_path: Path) -> None:
    good, plain = arm(tmp_path, "good", level=0.7), arm(tmp_path, "plain", level=0.5, start=1)
    found = of(good, plain)
    assert claim(found) == ("better", False)
    assert found["claims"][0].startswith("good is better than plain at matched loss and L0. ")
    assert claim(of(plain, good)) == ("worse", False)
    places = {row["place"] for row in found["tables"]["verdicts"]}
    assert places == {"all", "layer 0", "layer 1"}
    (volume,) = [row for row in found["tables"]["hypervolumes"] if row["metric"] == TWO[0]]
    assert 0 < volume["low"] < volume["difference"] < volume["high"]
    assert volume["first_volume"] > volume["second_volume"] > 0


def test_arms_that_are_alike_are_claimed_to_be(tmp_path: Path) -> None:
    found = of(arm(tmp_path, "a", level=0.5, n=600), arm(tmp_path, "b", level=0.5, n=600, start=1))
    assert claim(found) == ("no difference", False)


def test_two_seeds_are_exploratory(tmp_path: Path) -> None:
    found = of(arm(tmp_path, "good", level=0.7, seeds=2), arm(tmp_path, "plain", level=0.3, seeds=2, start=1))
    assert claim(found)[1]
    assert "exploratory (2 seeds)" in found["claims"][0]


@pytest.mark.parametrize(
    ("good", "plain", "reason"),
    [
        ({"twin": 0.7}, {"twin": 0.3}, "the untrained twins show the same"),
        ({"twin": None}, {}, "good has no untrained twin"),
        ({"points": ((5.2, 20.0),)}, {}, "no overlap in loss and L0_eff"),
        ({"parameters": 1300}, {}, "parameters differ: 1,300 and 1,000"),
        ({"trained_tokens": 9000}, {}, "trained on different numbers of tokens"),
    ],
)
def test_what_fails_a_part_of_the_rule_is_withheld_with_the_part(
    tmp_path: Path, good: dict[str, Any], plain: dict[str, Any], reason: str
) -> None:
    found = of(
        arm(tmp_path, "good", **{"level": 0.7, **good}), arm(tmp_path, "plain", **{"level": 0.5, "start": 1, **plain})
    )
    assert claim(found)[0] == "withheld"
    assert reason in found["claims"][0]


def test_between_levels_an_arm_is_interpolated(tmp_path: Path) -> None:
    """Levels at L0 10 and 40 in equal parts are at 20, halfway in log₂."""
    sweep = arm(tmp_path, "sweep", level=0.5, points=((5.0, 10.0), (5.0, 40.0)))
    found = of(arm(tmp_path, "one", level=0.7, points=((5.0, 20.0),)), sweep)
    (row,) = [
        row
        for row in found["tables"]["designs"]
        if (row["design"], row["place"], row["twin"]) == ("iso-loss", "all", False)
    ]
    assert row["status"] == "matched"
    assert row["first_l0"] == pytest.approx(20)
    assert row["second_l0"] == pytest.approx(20, rel=0.1)


def test_beyond_the_levels_there_is_no_overlap(tmp_path: Path) -> None:
    sweep = arm(tmp_path, "sweep", level=0.5, points=((5.0, 10.0), (5.0, 40.0)))
    found = of(arm(tmp_path, "one", level=0.5, start=1, points=((5.0, 60.0),)), sweep)
    assert claim(found)[0] == "no overlap"
    assert "sweep has 5.000 nats and L0_eff 10 to 40" in found["claims"][0]
    assert {3, 8} <= fired(found)


def test_weights_are_those_of_the_triangle_around_the_point() -> None:
    triangle = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [100.0, 100.0]])
    point = np.array([[2.0, 3.0]])
    found = matching_weights(triangle, point)
    assert found is not None
    assert np.abs(found[0] @ triangle - point).max() <= 1 + 1e-6
    assert found[0][3] == pytest.approx(0, abs=1e-9)
    assert matching_weights(triangle, np.array([[-5.0, -5.0]])) is None


def test_the_hypervolume_is_that_of_counting_cells() -> None:
    random = np.random.default_rng(0)
    points = random.integers(0, 7, size=(20, 4, 3))
    found = hypervolume(*(points[..., i].astype(float) for i in range(3)))
    for each, volume in zip(points, found, strict=True):
        cells = {
            cell for x, y, z in each for cell in itertools.product(range(x), range(y), range(z))
        }  # unit cubes of the union of boxes
        assert volume == pytest.approx(len(cells))


def test_hypervolume_of_an_undefined_score_is_undefined() -> None:
    one = np.ones((1, 2))
    assert np.isnan(hypervolume(one, one, np.array([[1.0, np.nan]])))[0]


LINTS: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {
    5: ({"architecture": {"name": "gpt", "activation": "gelu"}}, {}),
    17: ({"architecture": {"name": "self-ablating", "activation": "relu"}}, {}),
    18: ({"hooks": ["blocks.0.ablated.mlp.hook_gate", "blocks.1.ablated.mlp.hook_gate"]}, {}),
    28: ({"seeds": 1}, {}),
    6: ({"layers": 1}, {}),
}


@pytest.mark.parametrize("number", LINTS)
def test_a_lint_of_models_fires_where_it_must(number: int, tmp_path: Path) -> None:
    a, b = LINTS[number]
    first, second = ({"level": 0.5, "seeds": 2, "n": 60, **each} for each in (a, b))
    found = of(arm(tmp_path, "first", **first), arm(tmp_path, "second", start=1, **second))
    assert number in fired(found)
    if number != 28:
        alike = of(arm(tmp_path / "x", "first", level=0.5, seeds=2, n=60), arm(tmp_path / "x", "second", start=1,
                   level=0.5, seeds=2, n=60))  # fmt: skip
        assert number not in fired(alike)


def test_most_units_and_most_of_the_computation_may_name_different_arms(tmp_path: Path) -> None:
    """Lint 11. In the first arm the units that fire most, and so write most, score least."""

    def made(name: str, slope: float, level: float, start: int) -> Arm:
        reports = []
        for i in range(5):
            units = [Planted(seed=start + i, n=400, level=level, slope=slope, metrics=TWO)]
            folder = write_made(tmp_path / f"{name}-{i}", units, loss=5.0, l0=20.0, model=f"{name}-{i}")
            reports.append(opened_made(folder, name))
        return arm_of(Asked(name=name, sources=()), reports, TWO)

    found = of(made("first", -0.4, 0.6, 0), made("second", 0.0, 0.52, 50))
    assert 11 in fired(found)


def test_arms_are_named_and_twins_belong_to_them(tmp_path: Path) -> None:
    two = asked_arms(["crate=actpipe:crate-0,actpipe:crate-1", "actpipe:gpt-relu-0,actpipe:gpt-relu-1"])
    assert [each.name for each in two] == ["crate", "gpt-relu"]
    assert [source.kind for each in two for source in each.sources] == ["model"] * 4
    twins = asked_twins(["crate=actpipe:crate-0@init"], ["crate", "gpt-relu"])
    assert twins["crate"].sources[0].place == "actpipe:crate-0@init"
    with pytest.raises(Misuse, match="names none of the arms"):
        asked_twins(["other=actpipe:crate-0@init"], ["crate"])
