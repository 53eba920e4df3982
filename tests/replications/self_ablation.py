"""Self-ablating models against their dense twins: what they predict, how sparse they are, what their units mean.

    python -m tests.replications.self_ablation RUNS

RUNS holds `losses.csv` of clean_and_ablated.py and, for each model NAME of docs/replications/self-ablation.md,
`NAME-sparsity`, `NAME-sae` and `NAME-report`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

import actpipe

from .clean_and_ablated import COLUMNS, KINDS, SEEDS
from .few_seeds import Interval, between
from .page import COLOURS, Page, markdown

HOOKS = {"clean": "blocks.2.mlp.hook_post", "ablated": "blocks.2.ablated.mlp.hook_post"}
# Where L0 is read off a sweep; chosen before it was trained. The paper's CE scores lie between 0.63 and 0.72.
EQUAL = {"delta_ce": (0.02, 0.05), "loss_recovered": (0.7, 0.9)}


def gathered(runs: Path) -> pd.DataFrame:
    """One row a number: model, seed, what was measured on which stream, value with interval, n. A model without one of
    the folders lacks its rows."""
    rows = []
    for seed, kind in itertools.product(SEEDS, KINDS):
        name = f"{kind}-{seed}"
        for suffix, read in (("sparsity", sparsity), ("sae", sweep), ("report", units)):
            if (folder := runs / f"{name}-{suffix}").is_dir():
                rows += [[kind, seed, *row] for row in read(folder)]
    return pd.concat([pd.read_csv(runs / "losses.csv"), pd.DataFrame(rows, columns=COLUMNS)])


def sparsity(folder: Path) -> Iterator[list[Any]]:
    """Of all MLPs of a model together, trained; n is tokens."""
    report = json.loads((folder / "sparsity.json").read_text())
    tokens = report["tasks"][0]["tokens"]
    for row in report["means"]:
        if row["arm"] == "trained":
            stream = "ablated" if "ablated" in row["stack"] else "clean"
            for measure in ("nonzero", "l0_eff_95"):
                interval = [row[measure], row[f"{measure}_low"], row[f"{measure}_high"]]
                yield [measure, stream, math.nan, *interval, tokens]
            yield ["never_active", stream, math.nan, row["never_active"] / row["units"], math.nan, math.nan, tokens]


def sweep(folder: Path) -> Iterator[list[Any]]:
    """`at` is the penalty, then the level at which L0 is read off; one dictionary each, so there is no interval."""
    trained = json.loads((folder / "results.json").read_text())["members"]
    members = [member for member in trained if member["l0"] > 0]  # where all features are dead, log L0 is nowhere
    for member in members:
        for measure in ("l0", "delta_ce", "loss_recovered"):
            yield [f"sae_{measure}", "clean", member["l1"], member[measure], math.nan, math.nan, member["ce_tokens"]]
    for measure, levels in EQUAL.items():
        for level in levels:
            yield [f"l0_at_{measure}", "clean", level, l0_at(level, members, measure), math.nan, math.nan, math.nan]


def l0_at(level: float, members: Sequence[Mapping[str, Any]], measure: str) -> float:
    """Where the sweep has this ΔCE or loss recovered; log L0 is linear in it between points, NaN outside of them."""
    read = between(level, [member[measure] for member in members], [math.log(member["l0"]) for member in members])
    return math.exp(read)


def units(folder: Path) -> Iterator[list[Any]]:
    """How well rules tell where a neuron fires, and how much better than for random directions as dense."""
    report = actpipe.open_report(folder)
    means = report.means("rules_f1_std").set_index("member")
    for stream, hook in HOOKS.items():
        if (name := f"native-{hook}") in means.index:
            row = means.loc[name]
            yield ["rules_f1_std", stream, math.nan, row["mean"], row["low"], row["high"], row["n"]]
            yield ["rules_delta", stream, math.nan, row["delta"], row["delta_low"], row["delta_high"], row["n"]]


def tables(numbers: pd.DataFrame) -> Mapping[str, str]:
    return {
        "predictions": prediction_table(numbers),
        "sparsity": sparsity_table(numbers),
        "dictionaries": dictionary_table(numbers),
        "units": unit_table(numbers),
    }


def prediction_table(numbers: pd.DataFrame) -> str:
    rows = [
        [f"`{kind}-{seed}`", stream, _pick(own, "perplexity", "{:.0f}"), _pick(own, "above_twin", "{:+.3f}")]
        for (kind, seed, stream), own in _by_stream(numbers[numbers["measure"].isin(("perplexity", "above_twin"))])
    ]
    return markdown(["model", "stream", "perplexity", "nats above the twin's clean stream"], rows)


def sparsity_table(numbers: pd.DataFrame) -> str:
    rows = [
        [
            f"`{kind}-{seed}`",
            stream,
            _pick(own, "nonzero", "{:.2%}"),
            _pick(own, "l0_eff_95", "{:.2%}"),
            _pick(own, "never_active", "{:.1%}"),
            _pick(own, "mean_weight", "{:.4f}"),
        ]
        for (kind, seed, stream), own in _by_stream(numbers)
    ]
    return markdown(["model", "stream", "neurons not 0", "L0_eff", "never active", "mean abs. weight"], rows)


def dictionary_table(numbers: pd.DataFrame) -> str:
    read = numbers[numbers["measure"].str.startswith("l0_at_")]
    rows = []
    for (kind, seed), own in read.groupby(["model", "seed"], sort=False):
        cells = ["no overlap" if math.isnan(l0) else f"{l0:.1f}" for l0 in own["value"]]
        rows.append([f"`{kind}-{seed}`", *cells])
    titles = {"delta_ce": "L0 at ΔCE {} nats", "loss_recovered": "L0 at loss recovered {}"}
    return markdown(["model", *(titles[measure].format(at) for measure in EQUAL for at in EQUAL[measure])], rows)


def unit_table(numbers: pd.DataFrame) -> str:
    rows = [
        [f"`{kind}-{seed}`", stream, _pick(own, "rules_f1_std"), _pick(own, "rules_delta", "{:+.3f}"), _count(own)]
        for (kind, seed, stream), own in _by_stream(numbers[numbers["measure"].str.startswith("rules")])
    ]
    return markdown(["model", "stream", "F1 of rules", "above their control", "neurons"], rows)


def _by_stream(numbers: pd.DataFrame) -> Iterator[tuple[tuple[str, int, str], pd.DataFrame]]:
    yield from numbers.groupby(["model", "seed", "path"], sort=False)


def _pick(own: pd.DataFrame, measure: str, form: str = "{:.3f}") -> str:
    for row in own[own["measure"] == measure].itertuples():
        return Interval(row.value, row.low, row.high, row.n).shown(form)
    return "–"


def _count(own: pd.DataFrame) -> str:
    return f"{own.loc[own['measure'] == 'rules_f1_std', 'n'].iloc[0]:.0f}"


def figure(numbers: pd.DataFrame) -> alt.HConcatChart:
    sweeps = numbers[numbers["measure"].str.startswith("sae_")]
    points = sweeps.pivot(index=["model", "seed", "at"], columns="measure", values="value").reset_index()
    colour = alt.Color("model:N", title=None, sort=list(KINDS), scale=alt.Scale(range=COLOURS))
    curves = (
        alt.Chart(alt.InlineData(values=points.to_dict("records")))
        .mark_line(point=True)
        .encode(
            x=alt.X("sae_l0:Q", title="L0 of the dictionary", scale=alt.Scale(type="log", nice=False, padding=10)),
            y=alt.Y("sae_delta_ce:Q", title="ΔCE, nats"),
            color=colour,
            strokeDash=alt.StrokeDash("seed:O", title="seed"),
            order="at:Q",
        )
        .properties(width=280, height=230)
    )
    scores = numbers[numbers["measure"] == "rules_delta"]
    arms = [
        {**row, "arm": f"{row['model']}, {row['path']}", "low": row["low"], "high": row["high"]}
        for row in scores[["model", "seed", "path", "value", "low", "high"]].to_dict("records")
    ]
    base = alt.Chart(alt.InlineData(values=arms)).encode(
        y=alt.Y("arm:N", title=None, sort=None), yOffset=alt.YOffset("seed:O"), color=colour
    )
    above = base.mark_point(filled=True, size=50).encode(
        x=alt.X("value:Q", title="F1 of rules above random directions"), shape=alt.Shape("seed:O", legend=None)
    )
    bars = base.mark_rule().encode(x="low:Q", x2="high:Q")
    both: alt.HConcatChart = alt.hconcat(curves, (bars + above).properties(width=260, height=230))
    return both


PAGE = Page("self-ablation", gathered, tables, figure)

if __name__ == "__main__":
    PAGE.command(__doc__)
