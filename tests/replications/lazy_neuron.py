"""The lazy neuron: how many units are not 0, layer by layer, and how that falls while a model trains.

    python -m tests.replications.lazy_neuron RUNS

RUNS holds, in `sparsity/NAME`, what `actpipe analyze --model` left of each model of docs/replications/lazy-neuron.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import altair as alt
import pandas as pd

from .page import COLOURS, Page, markdown

MODELS = ("gpt-relu-0", "gpt-relu-1", "topk-0", "t5-0")
CURVE = {"gpt-relu-50k": 5e4, "gpt-relu-200k": 2e5, "gpt-relu-800k": 8e5, "gpt-relu-0": 4e6}
STACKS = {"blocks": "", "encoder_blocks": " encoder", "decoder_blocks": " decoder"}
DRAWN = ("gpt-relu-0", "topk-0", "t5-0 encoder", "t5-0 decoder")
COLUMNS = ["arm", "layer", "nonzero", "nonzero_low", "nonzero_high", "below_10pct", "dead_share", "tokens", "documents"]


def gathered(runs: Path) -> pd.DataFrame:
    """One row a model, arm and layer; layers count from 1. `untrained` is one draw of weights an architecture."""
    read = pd.concat([layers_of(runs, model) for model in dict.fromkeys((*MODELS, *CURVE))], ignore_index=True)
    return read[(read["arm"] == "trained") | read["model"].str.contains(r"-0\b")]


def layers_of(runs: Path, model: str) -> pd.DataFrame:
    read = pd.read_parquet(runs / "sparsity" / model / "layers.parquet")
    names = [model + STACKS[stack] for stack in read["stack"]]
    return read.assign(layer=read["layer"] + 1)[COLUMNS].assign(model=names)


def tables(numbers: pd.DataFrame) -> Mapping[str, str]:
    return {"layers": layer_table(of_models(numbers)), "training": layer_table(of_curve(numbers))}


def of_models(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers[~numbers["model"].isin(CURVE.keys() - set(MODELS))]


def of_curve(numbers: pd.DataFrame) -> pd.DataFrame:
    own = numbers[numbers["model"].isin(CURVE) & (numbers["arm"] == "trained")]
    return own.sort_values("model", key=lambda names: names.map(CURVE), kind="stable")


def layer_table(numbers: pd.DataFrame) -> str:
    rows = []
    for (model, arm), own in numbers.groupby(["model", "arm"], sort=False):
        shares = ", ".join(
            f"{row.nonzero:.1%} [{row.nonzero_low:.1%}, {row.nonzero_high:.1%}]" for row in own.itertuples()
        )
        rows.append([model, arm, shares, *(f"{own[name].mean():.0%}" for name in ("below_10pct", "dead_share"))])
    return markdown(["model", "weights", "not 0, layer by layer", "units below 10 %", "units never active"], rows)


def figure(numbers: pd.DataFrame) -> alt.HConcatChart:
    share = alt.Y(
        "nonzero:Q", title="units that are not 0", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 0.6])
    )
    drawn = numbers[numbers["model"].isin(DRAWN)]
    by_layer = (
        alt.Chart(_values(drawn))
        .mark_line(point=True)
        .encode(
            x=alt.X("layer:O", title="layer; dashed at initialisation", axis=alt.Axis(labelAngle=0)),
            y=share,
            color=alt.Color("model:N", title="model", sort=list(DRAWN), scale=alt.Scale(range=COLOURS)),
            strokeDash=alt.StrokeDash("arm:N", legend=None, sort=["trained", "untrained"]),
        )
        .properties(width=280, height=240)
    )
    curve = of_curve(numbers)
    while_training = (
        alt.Chart(_values(curve.assign(trained_on=curve["model"].map(CURVE))))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "trained_on:Q",
                title="gpt-relu, tokens of training",
                scale=alt.Scale(type="log", nice=False),
                axis=alt.Axis(values=list(CURVE.values()), format="~s"),
            ),
            y=share,
            color=alt.Color("layer:O", title="layer", scale=alt.Scale(scheme="viridis")),
        )
        .properties(width=280, height=240)
    )
    both: alt.HConcatChart = alt.hconcat(by_layer, while_training).resolve_scale(color="independent")
    return both


def _values(numbers: pd.DataFrame) -> alt.InlineData:
    return alt.InlineData(values=numbers.round(5).to_dict("records"))


PAGE = Page("lazy-neuron", gathered, tables, figure)

if __name__ == "__main__":
    PAGE.command(__doc__)
