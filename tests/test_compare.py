"""Arms side by side: what is planted is found, what is not is not, and what speaks against it is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actpipe.compare import CompareConfig, compare
from actpipe.compare.arm import Arm, arm_of, opened, pool
from actpipe.compare.asked import asked_arms
from actpipe.compare.measures import HEADLINE, metrics
from actpipe.compare.overlap import adjusted, common, histograms
from actpipe.compare.schemas import SCHEMAS
from actpipe.compare.stage import compared as compared_arms
from actpipe.errors import Damaged, Missing, Misuse
from actpipe.progress import silent
from tests.comparison_words import agree
from tests.planted_arms import METRIC, Planted, write_report


def written(tmp_path: Path, *arms: Path, seed: int = 0) -> dict[str, Any]:
    return compare(CompareConfig(arms=tuple(map(str, arms)), out=tmp_path / "out", seed=seed))


def open_arms(texts: Sequence[str], names: Sequence[str] = (METRIC,)) -> list[Arm]:
    return [arm_of(each, [opened(source) for source in each.sources], names) for each in asked_arms(texts)]


def compared(tmp_path: Path, *arms: Path, seed: int = 0, metric: str = METRIC) -> dict[str, Any]:
    """Nothing is written."""
    texts = tuple(map(str, arms))
    config = CompareConfig(arms=texts, out=tmp_path / "out", seed=seed)
    known = [each for each in metrics() if each.name == metric]
    found, tables = compared_arms(open_arms(texts, [metric]), known, config, silent)
    return {**found, "tables": tables}


def verdict(found: dict[str, Any], stratum: str = "all", design: str = "as given") -> dict[str, Any]:
    (row,) = (r for r in found["tables"]["verdicts"] if (r["stratum"], r["design"]) == (stratum, design))
    return dict(row)


def pair(found: dict[str, Any], estimate: str, stratum: str = "all", design: str = "as given") -> dict[str, Any]:
    asked = (estimate, stratum, design)
    (row,) = (r for r in found["tables"]["pairs"] if (r["estimate"], r["stratum"], r["design"]) == asked)
    return dict(row)


def fired(found: dict[str, Any]) -> set[str]:
    return {lint["name"] for lint in found["lints"]}


def five(start: int, **how: Any) -> list[Planted]:
    """Members that differ in their seeds."""
    return [Planted(seed=start + i, **how) for i in range(5)]


def test_two_copies_of_one_arm_do_not_differ(tmp_path: Path) -> None:
    first, second = (write_report(tmp_path / name, [Planted(seed=0, n=60)]) for name in ("a", "b"))
    found = compared(tmp_path, first, second)
    assert {row["verdict"] for row in found["tables"]["verdicts"]} == {"no difference"}
    assert {row["design"] for row in found["tables"]["verdicts"]} == {"as given", "iso-parameter", "iso-loss"}
    assert {row["difference"] for row in found["tables"]["pairs"] if row["estimate"] != "contribution"} == {0.0}
    assert [row["claim"] for row in found["tables"]["claims"]] == ["no difference"]
    assert {row["difference"] for row in found["tables"]["hypervolumes"]} == {0.0}


def test_arms_that_are_alike_are_never_better(tmp_path: Path) -> None:
    """Other units of the same distribution, which is what another seed gives."""
    arms = [write_report(tmp_path / str(i), [Planted(seed=i)]) for i in range(4)]
    found = compared(tmp_path, *arms)
    rows = [row for row in found["tables"]["verdicts"] if row["design"] == "as given"]
    said = [row["verdict"] for row in rows if row["stratum"] == "all"]
    assert len(said) == 6
    assert set(said) == {"no difference"}
    assert {row["verdict"] for row in found["tables"]["verdicts"]} <= {"no difference", "undecided"}


def test_a_better_arm_is_called_better_from_either_side(tmp_path: Path) -> None:
    good, plain = (
        write_report(tmp_path / name, [Planted(seed=seed, level=level)])
        for name, seed, level in (("good", 0, 0.6), ("plain", 1, 0.5))
    )
    assert verdict(compared(tmp_path, good, plain))["verdict"] == "better"
    found = compared(tmp_path, plain, good)
    assert verdict(found)["verdict"] == "worse"
    assert found["verdicts"][0].startswith("rules_f1_std, ")
    assert "good is better than plain, plain − good = -0." in found["verdicts"][0]
    row = pair(found, "mean")
    assert row["low"] < -0.1 < row["high"]
    assert row["first_n"] == 400
    assert all(verdict(found, stratum=each)["verdict"] == "worse" for each in ("token_units", "context_units"))


@pytest.mark.parametrize(("metric", "said"), [(METRIC, "no difference"), ("ms_c", "better")])
def test_the_margin_is_that_of_the_metric(tmp_path: Path, metric: str, said: str) -> None:
    """0.01 is nothing of an F1, and a good part of what MonoSemanticity can be."""
    more, less = (
        write_report(tmp_path / name, [Planted(seed=seed, n=3000, level=level, metric=metric)])
        for name, seed, level in (("more", 0, 0.51), ("less", 1, 0.5))
    )
    assert verdict(compared(tmp_path, more, less, metric=metric))["verdict"] == said


def test_where_lower_is_better_the_lower_arm_is_better(tmp_path: Path) -> None:
    low, high = (
        write_report(tmp_path / name, [Planted(seed=seed, level=level, control=1.9, metric="vendi_ratio")])
        for name, seed, level in (("low", 0, 0.5), ("high", 1, 0.6))
    )
    assert verdict(compared(tmp_path, low, high, metric="vendi_ratio"))["verdict"] == "better"


def test_nothing_is_claimed_where_only_densities_differ(tmp_path: Path) -> None:
    """Scores fall with density by the same line in both arms: the plain mean differs by 0.15, the adjusted by less."""
    sparse, dense = (
        write_report(tmp_path / name, [Planted(seed=seed, n=1500, slope=-0.3, log_density=log_density)])
        for name, seed, log_density in (("sparse", 0, -2.25), ("dense", 1, -1.75))
    )
    found = compared(tmp_path, sparse, dense)
    assert pair(found, "mean")["verdict"] == "better"
    assert abs(pair(found, "density_adjusted")["difference"]) < 0.06 < 0.12 < pair(found, "mean")["difference"]
    assert verdict(found)["verdict"] in ("undecided", "no difference")
    assert "density" in fired(found)


def test_densities_apart_are_no_overlap(tmp_path: Path) -> None:
    sparse, dense = (
        write_report(tmp_path / name, [Planted(seed=seed, level=level, log_density=log_density)])
        for name, seed, level, log_density in (("sparse", 0, 0.8, -4.0), ("dense", 1, 0.5, -1.0))
    )
    found = compared(tmp_path, sparse, dense)
    assert verdict(found)["verdict"] == "no overlap"
    assert [row["claim"] for row in found["tables"]["claims"]] == ["no overlap"]
    assert pair(found, "density_adjusted")["overlap"] < 0.25


def test_an_arm_that_does_not_beat_its_control_claims_nothing(tmp_path: Path) -> None:
    ahead = write_report(tmp_path / "ahead", [Planted(seed=0, level=0.6, control=0.6)])
    behind = write_report(tmp_path / "behind", [Planted(seed=1, level=0.5, control=0.5)])
    found = compared(tmp_path, ahead, behind)
    assert pair(found, "mean")["verdict"] == "better"
    assert verdict(found)["verdict"] == "undecided"
    assert "not above its own hardest control" in verdict(found)["reason"]


def test_few_units_decide_nothing(tmp_path: Path) -> None:
    arms = [
        write_report(tmp_path / name, [Planted(seed=seed, n=8, level=level)])
        for name, seed, level in (("a", 0, 0.9), ("b", 1, 0.2))
    ]
    assert verdict(compared(tmp_path, *arms))["verdict"] == "undecided"


def test_seeds_widen_intervals_and_five_of_them_are_a_claim(tmp_path: Path) -> None:
    wobbly = [Planted(seed=i, level=0.5 + 0.1 * i) for i in range(5)]
    steady = five(10, level=0.5)
    wide = compared(tmp_path, write_report(tmp_path / "a", wobbly), write_report(tmp_path / "b", steady))
    assert verdict(wide)["verdict"] == "undecided"  # 0.7 against 0.5, by seeds that lie 0.16 apart
    narrow = compared(tmp_path, write_report(tmp_path / "c", five(20, level=0.7)), tmp_path / "b")
    assert (verdict(narrow)["verdict"], verdict(narrow)["exploratory"]) == ("better", False)
    assert "few seeds" not in fired(narrow)
    assert "exploratory" not in narrow["verdicts"][0]
    single = compared(tmp_path, tmp_path / "c", Path(f"{tmp_path / 'b'}:member-0"))
    assert (verdict(single)["verdict"], verdict(single)["exploratory"]) == ("better", True)
    assert [lint["text"] for lint in single["lints"] if lint["name"] == "few seeds"] == [
        "Exploratory: b:member-0 has 1 seed, and a claim needs 5."
    ]


def test_means_at_common_densities_are_those_of_arithmetic(tmp_path: Path) -> None:
    """First: 3 units in a bin and 1 in the next; second: 1 and 1. Common: min(¾, ½) and min(¼, ½), so ⅔ and ⅓."""
    bins = {"first": [1e-3, 1e-3, 1e-3, 1e-2], "second": [1e-3, 1e-2]}
    values = {"first": [1.0, 2.0, 3.0, 8.0], "second": [4.0, 5.0]}
    for name, density in bins.items():
        planted = Planted(seed=0, n=len(density))
        planted.density, planted.scores = np.array(density), np.array(values[name])
        write_report(tmp_path / name, [planted])
    first, second = open_arms([str(tmp_path / name) for name in bins])
    measured = [pool(arm.levels[0], "all").measured for arm in (first, second)]
    shared = common(*(histograms(each, [METRIC]) for each in measured))
    assert shared.overlap[0, 0] == pytest.approx(0.75)
    means = [adjusted(each, [METRIC], shared.target, seed=0, stream=0, replicates=4).value[0] for each in measured]
    assert means == pytest.approx([2 / 3 * 2 + 1 / 3 * 8, 2 / 3 * 4 + 1 / 3 * 5])


@pytest.fixture(scope="module")
def five_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("arms") / "five", five(0))


LINTS: dict[str, dict[str, dict[str, Any]]] = {
    "density": {"of": {"log_density": -1.5}},
    "loss": {"said": {"delta_ce": 0.3}},
    "layers": {"said": {"hook": "blocks.1.hook_resid_post"}},
    "what is not explained": {"said": {"fvu": 0.3}},
    "L0": {"said": {"analysed_l0": 900.0}},
    "dead units": {"of": {"dead": 100}},
    "width": {"of": {"n": 300}},
    "some of the units": {"said": {"width": 800}},
    "text": {"said": {"dataset": "another", "store": "another"}},
    "random twins": {"said": {"model": "another", "store": "another"}},
    "parameters": {"said": {"model": None, "store": "another"}},
}


@pytest.mark.parametrize("name", LINTS)
def test_a_lint_fires_where_it_must(name: str, tmp_path: Path, five_seeds: Path) -> None:
    changed = LINTS[name]
    other = write_report(tmp_path / "other", five(30, **changed.get("of", {})), **changed.get("said", {}))
    assert name in fired(compared(tmp_path, five_seeds, other))


def test_a_missing_twin_of_dictionaries_says_which_run_was_looked_for(tmp_path: Path, five_seeds: Path) -> None:
    other = write_report(tmp_path / "other", five(30), model="another", store="another")
    texts = [lint["text"] for lint in compared(tmp_path, five_seeds, other)["lints"] if lint["name"] == "random twins"]
    assert "no run of dictionaries on planted-model@init and another@init was named or lies beside theirs" in texts[0]


def test_no_lint_fires_between_arms_that_are_alike(tmp_path: Path, five_seeds: Path) -> None:
    assert fired(compared(tmp_path, five_seeds, write_report(tmp_path / "other", five(30)))) == set()


def test_another_tokenizer_and_missing_controls_are_said(tmp_path: Path) -> None:
    first = write_report(tmp_path / "a", [Planted(seed=0)])
    second = write_report(tmp_path / "b", [Planted(seed=1)], vocabulary=["x"])
    scores = pq.read_table(second / "parquet" / "scores.parquet")
    own = [value is None for value in scores["control"].to_pylist()]
    pq.write_table(scores.filter(own), second / "parquet" / "scores.parquet")
    found = compared(tmp_path, first, second)
    texts = " ".join(lint["text"] for lint in found["lints"])
    assert "Tokenizers of a and b differ" in texts
    assert "b lacks the control shuffled and random_directions." in texts


def test_words_tables_and_summary_say_the_same(tmp_path: Path) -> None:
    arms = [
        write_report(tmp_path / name, [Planted(seed=seed, level=level)], analysed_l0=8.0)
        for name, seed, level in (("good", 0, 0.6), ("plain", 1, 0.5), ("bad|<b>", 2, 0.4))
    ]
    found = written(tmp_path, *arms)
    out = tmp_path / "out"
    said = json.loads((out / "compare.json").read_text())
    assert (said["format"], said["version"]) == ("actpipe-comparison", 3)
    assert (said["verdicts"], said["claims"]) == (found["verdicts"], found["claims"])
    verdicts = pq.read_table(out / "parquet" / "verdicts.parquet").to_pylist()
    opening = {"better": "{} is better than {}", "worse": "{1} is better than {0}"}
    asked = [row for row in verdicts if (row["role"], row["stratum"]) == ("headline", "all")]
    asked = [row for row in asked if row["design"] == "iso-loss"]
    assert len(asked) == len(said["verdicts"]) == 3
    for row, sentence in zip(asked, said["verdicts"], strict=True):
        assert opening[row["verdict"]].format(row["first"], row["second"]) in sentence
    claims = pq.read_table(out / "parquet" / "claims.parquet").to_pylist()
    for row, sentence in zip(claims, said["claims"], strict=True):
        assert sentence.startswith(f"{row['claim']} between {row['first']} and {row['second']}")
        assert sentence.endswith(row["reason"])
    assert agree(out) == 6
    drawn = {path.stem for path in (out / "figures").glob("*.png")}
    assert drawn == {path.stem for path in (out / "figures").glob("*.svg")}
    assert {"loss", "rules_f1_std-sparsity", "differences"} <= drawn
    summary = (out / "summary.md").read_text()
    assert "<b>" not in summary
    assert "good is better than plain" in summary
    for name, schema in SCHEMAS.items():
        table = pq.read_table(out / "parquet" / f"{name}.parquet")
        assert table.schema.equals(schema, check_metadata=True)
        assert not any(isinstance(v, float) and np.isnan(v) for row in table.to_pylist() for v in row.values())
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("claims", "claim", "better"),
        ("verdicts", "verdict", "worse"),
        ("pairs", "difference", 0.001),
        ("pairs", "p_holm", 0.5),
        ("pairs", "low", -0.2),
    ],
)
def test_words_that_the_tables_do_not_say_are_found(tmp_path: Path, table: str, column: str, value: Any) -> None:
    """So that the check of words against tables can fail."""
    arms = [write_report(tmp_path / str(i), [Planted(seed=i, level=0.6 - i / 10)], analysed_l0=8.0) for i in range(2)]
    written(tmp_path, *arms)
    path = tmp_path / "out" / "parquet" / f"{table}.parquet"
    known = pq.read_table(path)
    changed = pa.array([value] * len(known), known.schema.field(column).type)
    pq.write_table(known.set_column(known.schema.get_field_index(column), known.schema.field(column), changed), path)
    with pytest.raises(AssertionError):
        agree(tmp_path / "out")


def test_tables_are_those_of_the_format_s_page() -> None:
    page = (Path(__file__).parent.parent / "docs" / "reference" / "compare-format.md").read_text()
    for name, schema in SCHEMAS.items():
        section = page.split(f"## {name}.parquet")[1].split("\n## ")[0]
        for column in schema.names:
            assert f"`{column}`" in section, f"{name}.{column}"


def test_the_same_command_gives_the_same_numbers_and_another_seed_others(tmp_path: Path) -> None:
    arms = [write_report(tmp_path / str(i), [Planted(seed=i)]) for i in range(2)]
    one, again, other = (compared(tmp_path, *arms, seed=seed)["tables"]["pairs"] for seed in (0, 0, 1))
    assert one == again
    assert [row["difference"] for row in one] == [row["difference"] for row in other]
    assert [row["low"] for row in one] != [row["low"] for row in other]


def test_what_is_no_arm_is_answered_in_a_sentence(tmp_path: Path) -> None:
    arm = write_report(tmp_path / "a", [Planted(seed=i) for i in range(2)], seeds=False)
    one = Path(f"{arm}:member-0")
    with pytest.raises(Missing, match=r"There is nothing to compare at .*nowhere; an arm is a model"):
        compared(tmp_path, one, tmp_path / "nowhere")
    with pytest.raises(Misuse, match=r"no member 'member-9'; it has member-0, member-1"):
        compared(tmp_path, Path(f"{arm}:member-9"), arm)
    with pytest.raises(Misuse, match="two arms or more"):
        compared(tmp_path, arm)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(Misuse, match="exists and is not a comparison"):
        written(tmp_path, one, one)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_units_that_never_fire_leave_everything_undecided(tmp_path: Path) -> None:
    dead = write_report(tmp_path / "dead", [Planted(seed=0, n=30, dead=30)])
    found = compared(tmp_path, dead, write_report(tmp_path / "alive", [Planted(seed=1)]))
    rows = [row for row in found["tables"]["verdicts"] if row["design"] == "as given"]
    assert {row["verdict"] for row in rows} == {"undecided"}
    assert "dead units" in fired(found)


def test_a_broken_table_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    arms = [write_report(tmp_path / name, [Planted(seed=0, n=20)]) for name in ("a", "b")]
    (arms[1] / "parquet" / "scores.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(Damaged, match=r"A table of .*b cannot be read"):
        written(tmp_path, *arms)
    assert not (tmp_path / "out").exists()


def test_a_name_with_a_star_is_every_member_that_it_fits(tmp_path: Path) -> None:
    report = write_report(tmp_path / "a", five(0))
    (arm,) = open_arms([f"{report}:member-*"])
    assert arm.name == "member-*"
    assert [system.dictionary for system in arm.levels[0].systems] == ["0", "1", "2", "3", "4"]
    with pytest.raises(Misuse, match="no member 'number-\\*'"):
        open_arms([f"{report}:number-*"])


def test_arms_have_the_shortest_names_that_differ(tmp_path: Path) -> None:
    for folder in ("x/report", "y/report", "z"):
        write_report(tmp_path / folder, [Planted(seed=0, n=20)])
    names = [f"{tmp_path}/{name}" for name in ("x/report", "y/report", "z")]
    assert [arm.name for arm in open_arms([names[0], names[2]])] == ["report", "z"]
    assert [arm.name for arm in open_arms(names)] == names
    members = [arm.name for arm in open_arms([names[2], f"{names[2]}:member-0"])]
    assert members == ["z", "z:member-0"]
    twice = [arm.name for arm in open_arms([names[2], names[2]])]
    assert twice == [names[2], f"{names[2]} (2)"]


def test_headline_metrics_have_a_better_and_a_worse() -> None:
    known = metrics()
    assert [metric.name for metric in known[: len(HEADLINE)]] == list(HEADLINE)
    assert all(metric.better in ("higher", "lower") for metric in known)
    assert len({metric.name for metric in known}) == len(known)
