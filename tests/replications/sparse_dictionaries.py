"""Sparse dictionaries against PCA, ICA, random directions, coordinates and neurons: on toys, and in language models.

    python -m tests.replications.sparse_dictionaries RUNS

RUNS holds the reports of docs/replications/sparse-dictionaries.md and `toys.csv` of toys.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

import actpipe

from .few_seeds import Interval
from .page import COLOURS, Page, markdown
from .toys import TOYS

# Report in RUNS → what it is of.
REPORTS = {
    "smollm2-report": "SmolLM2, residual stream",
    "smollm2-mlp-report": "SmolLM2, MLP",
    "neurons-report": "gpt-relu-0, MLP",
}
METHODS = {
    "relu": "dictionary",
    "tied": "dictionary",
    "pca": "PCA",
    "ica": "ICA",
    "random": "random directions",
    "basis": "coordinates",
    "native": "neurons",
    "neurons": "top-k neurons",
}
COLUMNS = ["part", "hook", "method", "l1", "measure", *Interval._fields, "control", "verdict"]


def gathered(runs: Path) -> pd.DataFrame:
    """One row a number; null where a column does not apply."""
    toys = pd.read_csv(runs / "toys.csv").rename(columns={"toy": "part"})
    rows = [row for folder, part in REPORTS.items() for row in in_model(part, actpipe.open_report(runs / folder))]
    return pd.concat([toys, pd.DataFrame(rows, columns=COLUMNS)])[COLUMNS]


def in_model(part: str, report: Any) -> Iterator[list[Any]]:
    """How well rules tell where a unit fires, and how much better than for random directions that fire as often."""
    members = report.frame("members").set_index("member")
    fire = firing(members.assign(signs=report.frame("units").groupby("member")["sign"].nunique()))
    for row in report.means("rules_f1_std").to_dict("records"):
        member = members.loc[row["member"]]
        key = [part, member["hook"], METHODS[member["architecture"]], member["l1"]]
        yield [*key, "l0", fire[row["member"]], math.nan, math.nan, row["n"], None, None]
        yield [*key, "rules_f1_std", row["mean"], row["low"], row["high"], row["n"], None, None]
        yield [
            *key,
            "delta",
            row["delta"],
            row["delta_low"],
            row["delta_high"],
            row["n"],
            row["control"],
            row["verdict"],
        ]


def firing(members: pd.DataFrame) -> pd.Series[float]:
    """Units that fire on a row: of dictionaries as held out, of neurons as read, where one with both `signs` is two
    units; a baseline keeps as many as the dictionaries of its hook do at the median."""
    read = members["analysed_l0"] * members["signs"] * members["width"] / members["units"]
    read = read.where(members["architecture"] == "native")
    median = members["l0"].astype(float).groupby(members["hook"]).transform("median")
    found: pd.Series[float] = members["l0"].astype(float).fillna(read).fillna(median)
    return found


def tables(numbers: pd.DataFrame) -> Mapping[str, str]:
    return {"toys": toy_table(numbers), "models": model_table(numbers)}


def toy_table(numbers: pd.DataFrame) -> str:
    rows = []
    for method, l1 in (
        numbers.loc[numbers["measure"] == "mmcs", ["method", "l1"]].drop_duplicates().itertuples(index=False)
    ):
        own = _same(numbers, method=method, l1=l1)
        cells = [
            _shown(_same(own, part=toy.name, measure=measure), form)
            for toy in TOYS
            for measure, form in (("mmcs", "{:.2f}"), ("recovered", "{:.0%}"))
        ]
        rows.append([method if math.isnan(l1) else f"{method}, l1 {l1:g}", *cells])
    return markdown(["", *(f"{toy.name}: {what}" for toy in TOYS for what in ("MMCS", "found"))], rows)


def model_table(numbers: pd.DataFrame) -> str:
    rows = []
    own = numbers[numbers["part"].isin(REPORTS.values())]
    for (part, hook, method, l1), these in own.groupby(["part", "hook", "method", "l1"], sort=False, dropna=False):
        l0, f1, delta = (_same(these, measure=measure) for measure in ("l0", "rules_f1_std", "delta"))
        name = method if math.isnan(l1) else f"{method}, l1 {l1:g}"
        shown = [_shown(l0, "{:.1f}"), _shown(f1, "{:.3f}"), _shown(delta, "{:+.3f}")]
        rows.append([part, f"`{hook}`", name, *shown, *delta[["control", "verdict"]].iloc[0], f"{f1['n'].iloc[0]:.0f}"])
    header = [
        "model",
        "hook",
        "units",
        "of them fire on a row",
        "F1 of rules",
        "above the control",
        "control",
        "verdict",
        "n",
    ]
    return markdown(header, rows)


def _same(numbers: pd.DataFrame, **values: Any) -> pd.DataFrame:
    for name, value in values.items():
        is_null = isinstance(value, float) and math.isnan(value)
        numbers = numbers[numbers[name].isna() if is_null else numbers[name] == value]
    return numbers


def _shown(rows: pd.DataFrame, form: str) -> str:
    (row,) = rows.itertuples()
    return Interval(row.value, row.low, row.high, row.n).shown(form)


def figure(numbers: pd.DataFrame) -> alt.HConcatChart:
    parts = list(dict.fromkeys(REPORTS.values()))
    both: alt.HConcatChart = alt.hconcat(_toys(numbers), *(_model(numbers, part) for part in parts))
    return both.resolve_scale(color="independent")


def _toys(numbers: pd.DataFrame) -> alt.LayerChart:
    own = numbers[numbers["part"].isin([toy.name for toy in TOYS]) & (numbers["measure"] == "mmcs")]
    values = [
        {
            "arm": row["method"] if math.isnan(row["l1"]) else f"{row['method']}, l1 {row['l1']:g}",
            **{name: row[name] for name in ("part", "value", "low", "high")},
        }
        for row in own.to_dict("records")
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("arm:N", title=None, sort=None),
        yOffset=alt.YOffset("part:N"),
        color=alt.Color("part:N", title=None, scale=alt.Scale(range=COLOURS), legend=alt.Legend(orient="bottom")),
    )
    points = base.mark_point(filled=True, size=50).encode(
        x=alt.X("value:Q", title="MMCS with the true features", scale=alt.Scale(domain=[0, 1]))
    )
    layers: alt.LayerChart = alt.layer(base.mark_rule().encode(x="low:Q", x2="high:Q"), points)
    return layers.properties(title="known features", width=220, height=240)


def _model(numbers: pd.DataFrame, part: str) -> alt.LayerChart:
    key = ["hook", "method", "l1"]
    own = _same(numbers, part=part)
    fire = _same(own, measure="l0").set_index(key)["value"].rename("l0")
    shown = _same(own, measure="delta")[[*key, "value", "low", "high"]].join(fire, on=key).drop(columns="l1")
    methods = list(dict.fromkeys(METHODS.values()))
    drawn = [method for method in methods if method in set(shown["method"])]
    colours = alt.Scale(domain=drawn, range=[COLOURS[methods.index(method)] for method in drawn])
    base = alt.Chart(alt.InlineData(values=shown.to_dict("records"))).encode(
        x=alt.X("l0:Q", title="units that fire on a row", scale=alt.Scale(type="log", nice=False, padding=10)),
        color=alt.Color("method:N", title=None, scale=colours, legend=alt.Legend(orient="bottom", columns=3)),
    )
    points = base.mark_point(filled=True, size=60).encode(
        y=alt.Y("value:Q", title="F1 of rules above the control"), tooltip="hook:N"
    )
    layers: alt.LayerChart = alt.layer(base.mark_rule().encode(y="low:Q", y2="high:Q"), points)
    return layers.properties(title=part, width=220, height=240)


PAGE = Page("sparse-dictionaries", gathered, tables, figure)

if __name__ == "__main__":
    PAGE.command(__doc__)
