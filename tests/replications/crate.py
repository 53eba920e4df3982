"""CRATE, top-k and self-ablating models against their dense twin and autoencoders on that.

    python -m tests.replications.crate RUNS

RUNS holds the folder `compared` that the last command of docs/replications/crate.md left. Its words and its tables have
to agree (tests/comparison_words.py) before any number is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from actpipe.compare.opened import Comparison
from tests.comparison_words import agree

from .few_seeds import Interval
from .page import COLOURS, Page, markdown

COLUMNS = ["measure", "metric", "arm", "level", "at", "value", "low", "high", "said"]
PRIMARY = "rules_f1_std"
METRICS = {
    PRIMARY: "rules F1",
    "ms_c": "MonoSemanticity",
    "vendi_ratio": "Vendi ratio",
    "concept_f1_std": "concepts F1",
}
ESTIMATES = {"mean": "as they are", "density_adjusted": "at equal densities", "above_control": "above control"}

Row = Mapping[str, Any]


def gathered(runs: Path) -> pd.DataFrame:
    """One row a number: of an arm's level, or of two arms `A − B`; `at` is a design or a bound, `said` a verdict."""
    agree(runs / "compared")
    found = Comparison.open(runs / "compared")
    rows = [*arms(found), *differences(found), *volumes(found), *surfaces(found), *claims(found)]
    return pd.DataFrame(rows, columns=COLUMNS)


def arms(found: Comparison) -> Iterator[list[Any]]:
    for row in found.table("means", where={"place": "all", "stratum": "all", "role": "headline"}).to_pylist():
        here = [row["arm"], row["level"], "before training" if row["twin"] else "trained"]
        if row["metric"] == PRIMARY:
            yield ["loss", "", *here, row["loss"], row["loss_low"], row["loss_high"], ""]
            yield ["l0", "", *here, row["l0"], row["l0_low"], row["l0_high"], ""]
        yield ["mean", row["metric"], *here, row["mean"], row["low"], row["high"], ""]
        yield ["above_control", row["metric"], *here, row["delta"], row["delta_low"], row["delta_high"], row["control"]]
    for arm in found.summary["arms"]:
        for quantity in ("median_density", "token_units", "units", "width", "alive"):
            yield [quantity, "", arm["arm"], "", "trained", arm[quantity], math.nan, math.nan, ""]
        yield ["parameters", "", arm["arm"], "", "trained", arm["parameters"][0], math.nan, math.nan, ""]


def differences(found: Comparison) -> Iterator[list[Any]]:
    """At all layers, in each design that the two arms allow."""
    where = {"place": "all", "stratum": "all", "role": "headline", "twin": False}
    for row in found.table("pairs", where=where).to_pylist():
        if row["estimate"] in ESTIMATES:
            arms = f"{row['first']} − {row['second']}"
            numbers = [row["difference"], row["low"], row["high"]]
            yield [f"difference_{row['estimate']}", row["metric"], arms, "", row["design"], *numbers, row["verdict"]]


def volumes(found: Comparison) -> Iterator[list[Any]]:
    for row in found.table("hypervolumes").to_pylist():
        arms = f"{row['first']} − {row['second']}"
        yield ["hypervolume", row["metric"], arms, "", "", row["difference"], row["low"], row["high"], ""]


def surfaces(found: Comparison) -> Iterator[list[Any]]:
    """At any loss; `at` is the bound of L0_eff."""
    for row in found.table("surfaces", where={"metric": PRIMARY}).to_pylist():
        if row["loss_bound"] is None and row["attained"] is not None:
            at = f"{row['l0_bound']:.5g}"
            yield ["attained", PRIMARY, row["arm"], "", at, row["attained"], row["low"], row["high"], ""]


def claims(found: Comparison) -> Iterator[list[Any]]:
    for row in found.table("claims").to_pylist():
        arms = f"{row['first']} − {row['second']}"
        yield ["claim", "", arms, "", "", row["seeds"], math.nan, math.nan, f"{row['claim']}. {row['reason']}"]


def tables(numbers: pd.DataFrame) -> Mapping[str, str]:
    return {
        "arms": arm_table(numbers),
        "claims": claim_table(numbers),
        "matched": matched_table(numbers),
        "differences": difference_table(numbers),
        "volumes": volume_table(numbers),
    }


def arm_table(numbers: pd.DataFrame) -> str:
    """A row a level."""
    numbers = numbers.fillna({"level": "", "metric": ""})
    own, before = (numbers[numbers["at"] == at] for at in ("trained", "before training"))
    rows = []
    for (arm, level), here in own.groupby(["arm", "level"], sort=False):
        if "mean" in set(here["measure"]):
            twin = before[(before["arm"] == arm) & (before["level"] == level)]
            score = [_one(here, "mean", PRIMARY), _one(here, "above_control", PRIMARY, "{:+.3f}")]
            place = [_one(here, "loss"), _one(here, "l0", "", "{:.3g}")]
            rows.append([arm, level or "–", *place, *score, _one(twin, "mean", PRIMARY)])
    head = ["arm", "level", "loss, nats", "L0_eff", "rules F1", "above the hardest control", "rules F1 before training"]
    return markdown(head, rows)


def claim_table(numbers: pd.DataFrame) -> str:
    return markdown(["arms", "claim"], numbers[numbers["measure"] == "claim"][["arm", "said"]].to_numpy().tolist())


def matched_table(numbers: pd.DataFrame) -> str:
    """What iso-loss and iso-parameter leave to compare."""
    return _differences(numbers[numbers["at"].isin(("iso-loss", "iso-parameter"))], tuple(METRICS))


def difference_table(numbers: pd.DataFrame) -> str:
    return _differences(numbers[numbers["at"] == "as given"], (PRIMARY, "ms_c"))


def _differences(numbers: pd.DataFrame, metrics: tuple[str, ...]) -> str:
    rows = []
    found = numbers[numbers["measure"].str.startswith("difference_")]
    for (arms, design, metric), here in found.groupby(["arm", "at", "metric"], sort=False):
        if metric in metrics:
            cells = []
            for estimate in ESTIMATES:
                (row,) = here[here["measure"] == f"difference_{estimate}"].itertuples()
                overlap = row.said == "no overlap"
                cells.append("no overlap" if overlap else Interval(row.value, row.low, row.high, 0).shown("{:+.3f}"))
            rows.append([arms, design, METRICS[metric], *cells])
    return markdown(["arms", "design", "metric", *ESTIMATES.values()], rows)


def volume_table(numbers: pd.DataFrame) -> str:
    found = numbers[(numbers["measure"] == "hypervolume") & (numbers["metric"] == PRIMARY)]
    rows = [[row.arm, Interval(row.value, row.low, row.high, 0).shown("{:+.3f}")] for row in found.itertuples()]
    return markdown(["arms", "difference in hypervolume"], rows)


def _one(here: pd.DataFrame, measure: str, metric: str = "", form: str = "{:.3f}") -> str:
    for row in here[(here["measure"] == measure) & (here["metric"] == metric)].itertuples():
        return Interval(row.value, row.low, row.high, 0).shown(form)
    return "–"


def figure(numbers: pd.DataFrame) -> alt.HConcatChart:
    order = numbers[numbers["measure"] == "loss"]["arm"].unique().tolist()
    colour = alt.Color("arm:N", title=None, sort=order, scale=alt.Scale(domain=order, range=COLOURS))
    trained = numbers[numbers["at"] == "trained"].fillna({"level": "", "metric": ""})
    points = trained.pivot_table(index=["arm", "level"], columns="measure", values="value", sort=False)
    points = points[["loss", "l0"]].dropna().reset_index()
    l0 = alt.X("l0:Q", title="L0_eff", scale=alt.Scale(type="log", base=2, nice=False, padding=12))
    place = alt.Chart(alt.InlineData(values=points.to_dict("records"))).encode(
        x=l0, y=alt.Y("loss:Q", title="loss of the system, nats", scale=alt.Scale(zero=False, padding=12)), color=colour
    )
    places = (place.mark_line(strokeWidth=1) + place.mark_point(filled=True, size=60)).properties(width=270, height=230)
    steps = numbers[numbers["measure"] == "attained"]
    steps = steps.assign(l0=steps["at"].astype(float))[["arm", "l0", "value", "low", "high"]]
    values = [{**row, "low": None if math.isnan(row["low"]) else row["low"]} for row in steps.to_dict("records")]
    stairs = alt.Chart(alt.InlineData(values=values)).encode(x=l0, color=colour)
    score = "rules F1 attained above control"
    ribbon = stairs.mark_area(opacity=0.18, interpolate="step-after").encode(y=alt.Y("low:Q", title=score), y2="high:Q")
    line = stairs.mark_line(strokeWidth=1.5, interpolate="step-after").encode(y=alt.Y("value:Q", title=score))
    both: alt.HConcatChart = alt.hconcat(places, (ribbon + line).properties(width=270, height=230))
    return both


PAGE = Page("crate", gathered, tables, figure)

if __name__ == "__main__":
    PAGE.command(__doc__)
