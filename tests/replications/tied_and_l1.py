"""Tied against untied decoders along a sweep of penalties: how well, how sparse, how much alike.

    python -m tests.replications.tied_and_l1 RUNS

RUNS holds the runs of docs/replications/tied-and-l1.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from .few_seeds import Interval, between, mean_of, span_of
from .page import COLOURS, Page, markdown

# Folder in RUNS → what it is; the first is drawn.
TRAINED = {"tied-residual": "200k rows", "tied-longer": "1M rows"}
KEY = ["architecture", "width", "l1"]
COLUMNS = ["run", "measure", *KEY, *Interval._fields]
MEASURES = ("l0", "fvu", "dead", "delta_ce", "norm_ratio")
ARCHITECTURES = ("tied", "untied")
AT_L0 = (8, 16, 32)  # where FVU is read off both curves: a factor of two apart, chosen before the run


def gathered(runs: Path) -> pd.DataFrame:
    """One row a number: run, measure, which members, value with interval, n."""
    rows = [[name, *row] for folder, name in TRAINED.items() for row in of_run(runs / folder)]
    return pd.DataFrame(rows, columns=COLUMNS)


def of_run(folder: Path) -> Iterator[list[Any]]:
    members = pd.DataFrame(json.loads((folder / "results.json").read_text())["members"]).set_index("path")
    members["width"] = [f"{expansion:g} d" for expansion in members["expansion"]]
    pairs = pd.DataFrame(json.loads((folder / "matching.json").read_text())["pairs"])
    yield from curves(members)
    yield from at_equal_l0(members)
    yield from alike(members, pairs)


def curves(members: pd.DataFrame) -> Iterator[list[Any]]:
    for which, seeds in members.groupby(KEY):
        for measure in MEASURES:
            yield [measure, *which, *mean_of(seeds[measure].tolist())]


def at_equal_l0(members: pd.DataFrame) -> Iterator[list[Any]]:
    """FVU of untied less that of tied at the same L0, the same seed for both; FVU is linear in log L0 in between."""
    for width, alike in members.groupby("width"):
        for l0 in AT_L0:
            differences = []
            for _, seed in alike.groupby("seed"):
                curve = [seed[seed["architecture"] == name] for name in ARCHITECTURES]
                tied, untied = (between(math.log(l0), [math.log(x) for x in c["l0"]], c["fvu"].tolist()) for c in curve)
                differences.append(untied - tied)
            if not any(map(math.isnan, differences)):
                yield [f"fvu_at_l0_{l0}", "untied − tied", width, math.nan, *mean_of(differences)]


def alike(members: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[list[Any]]:
    """MMCS above chance of one dictionary in another of the same penalty: kind in kind, or the narrow in the wide.

    Pairs of one seed are left out: they start from the same directions.
    """
    found: dict[tuple[str, str, float], list[float]] = {}
    for pair in pairs.to_dict("records"):
        for one, other, way in (("a", "b", "forward"), ("b", "a", "backward")):
            a, b = members.loc[pair[one]], members.loc[pair[other]]
            if a["l1"] != b["l1"] or a["seed"] == b["seed"] or a["expansion"] > b["expansion"]:
                continue
            width = a["width"] if a["width"] == b["width"] else f"{a['width']} in {b['width']}"
            place = (f"{a['architecture']} in {b['architecture']}", width, a["l1"])
            found.setdefault(place, []).append(pair[f"{way}_above_chance"])
    for place, values in sorted(found.items()):
        yield ["mmcs", *place, *span_of(values)]


def tables(numbers: pd.DataFrame) -> Mapping[str, str]:
    return {"curves": curve_table(numbers), "equal-l0": equal_table(numbers), "alike": alike_table(numbers)}


def curve_table(numbers: pd.DataFrame) -> str:
    forms = {"l0": "{:.1f}", "fvu": "{:.3f}", "delta_ce": "{:.3f}", "norm_ratio": "{:.3f}"}
    own = numbers[numbers["measure"].isin(MEASURES)]
    rows = []
    for (run, width, l1, architecture), these in own.groupby(["run", "width", "l1", "architecture"], sort=False):
        by = these.set_index("measure")
        shown = [_shown(by.loc[measure], form) for measure, form in forms.items()]
        rows.append([run, width, f"{l1:g}", architecture, *shown, f"{by.loc['dead', 'value']:.1%}"])
    return markdown(["run", "width", "l1", "decoder", "L0", "FVU", "ΔCE, nats", "‖x̂‖ / ‖x‖", "dead"], rows)


def equal_table(numbers: pd.DataFrame) -> str:
    own = numbers[numbers["measure"].str.startswith("fvu_at_l0_")]
    rows = [
        [row["run"], row["width"], row["measure"].removeprefix("fvu_at_l0_"), _shown(row, "{:+.4f}")]
        for _, row in own.iterrows()
    ]
    return markdown(["run", "width", "L0", "FVU, untied − tied"], rows)


def alike_table(numbers: pd.DataFrame) -> str:
    own, ways = numbers[numbers["measure"] == "mmcs"], [f"{a} in {b}" for a in ARCHITECTURES for b in ARCHITECTURES]
    rows = []
    for (run, width, l1), here in own.groupby(["run", "width", "l1"], sort=False):
        by = here.set_index("architecture")
        rows.append([run, width, f"{l1:g}", *(_shown(by.loc[way], "{:.2f}") for way in ways)])
    return markdown(["run", "width", "l1", *ways], rows)


def _shown(row: pd.Series[Any], form: str) -> str:
    return Interval(row["value"], row["low"], row["high"], row["n"]).shown(form)


def figure(numbers: pd.DataFrame) -> alt.HConcatChart:
    own = numbers[(numbers["run"] == next(iter(TRAINED.values()))) & numbers["measure"].isin(MEASURES)]
    wide = own.pivot(index=KEY, columns="measure", values="value").reset_index()
    wide["dictionary"] = [f"{row.architecture}, {row.width}" for row in wide.itertuples()]
    panels = {"fvu": "FVU", "delta_ce": "ΔCE, nats", "dead": "dead share"}
    values = wide.round(6).to_dict("records")
    return alt.hconcat(*(_panel(values, measure, title) for measure, title in panels.items()))


def _panel(values: list[dict[str, Any]], measure: str, title: str) -> alt.Chart:
    return (
        alt.Chart(alt.InlineData(values=values))
        .mark_line(point=True)
        .encode(
            x=alt.X("l0:Q", title="L0", scale=alt.Scale(type="log", nice=False, padding=10)),
            y=alt.Y(f"{measure}:Q", title=title),
            color=alt.Color("dictionary:N", title=None, scale=alt.Scale(range=COLOURS)),
            strokeDash=alt.StrokeDash("architecture:N", legend=None),
            order="l1:Q",
        )
        .properties(width=230, height=220)
    )


PAGE = Page("tied-and-l1", gathered, tables, figure)

if __name__ == "__main__":
    PAGE.command(__doc__)
