"""The curves of the lazy neuron: how many units are not 0, layer by layer, and how that falls while a model trains.

    python -m tests.replications.lazy_neuron --reports sparsity --out docs/replications

`reports` holds what `actpipe analyze --model` left for each model of docs/replications/lazy-neuron.md, in a folder of
the model's name. Left in `out`: lazy-neuron.svg; a table goes to stdout.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import altair as alt
import pyarrow.parquet as pq

Row = dict[str, Any]
MODELS = ("gpt-relu-0", "gpt-relu-1", "topk-0", "t5-0")
TOKENS = {"gpt-relu-50k": 5e4, "gpt-relu-200k": 2e5, "gpt-relu-800k": 8e5, "gpt-relu-0": 4e6}
STACKS = {"blocks": "", "encoder_blocks": " encoder", "decoder_blocks": " decoder"}
DRAWN = ("gpt-relu-0", "topk-0", "t5-0 encoder", "t5-0 decoder")
PERCENT = alt.Axis(format="%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--reports", "--out"):
        parser.add_argument(name, type=Path, required=True)
    asked = parser.parse_args()
    layers = [row for model in MODELS for row in layers_of(asked.reports, model)]
    curve = [row for model in TOKENS for row in layers_of(asked.reports, model) if row["arm"] == "trained"]
    asked.out.mkdir(parents=True, exist_ok=True)
    figure(layers, curve).save(asked.out / "lazy-neuron.svg")
    print("\n".join(table(layers + curve)))


def layers_of(reports: Path, model: str) -> list[Row]:
    """Share of units that are not 0, with its interval over documents; one row an arm and layer."""
    read = pq.read_table(reports / model / "layers.parquet").to_pylist()
    return [
        {
            "model": model + STACKS[row["stack"]],
            "arm": row["arm"],
            "layer": row["layer"] + 1,
            "tokens": TOKENS.get(model),
            **{name: row[name] for name in ("nonzero", "nonzero_low", "nonzero_high", "dead_share", "below_10pct")},
        }
        for row in read
    ]


def table(rows: list[Row]) -> list[str]:
    """Markdown: one line a model and arm, with all its layers."""
    lines = ["| model | arm | not 0, by layer | units below 10 % | never |", "|---|---|---|---|---|"]
    for model, arm in dict.fromkeys((row["model"], row["arm"]) for row in rows):
        own = list({row["layer"]: row for row in rows if (row["model"], row["arm"]) == (model, arm)}.values())
        shares = ", ".join(
            f"{100 * row['nonzero']:.1f} ({100 * row['nonzero_low']:.1f}–{100 * row['nonzero_high']:.1f})"
            for row in own
        )
        lazy, dead = (100 * sum(row[name] for row in own) / len(own) for name in ("below_10pct", "dead_share"))
        lines.append(f"| {model} | {arm} | {shares} | {lazy:.0f} % | {dead:.0f} % |")
    return lines


def figure(layers: list[Row], curve: list[Row]) -> alt.HConcatChart:
    share = alt.Y("nonzero:Q", title="units that are not 0", axis=PERCENT, scale=alt.Scale(domain=[0, 0.65]))
    by_layer = (
        alt.Chart(alt.InlineData(values=[row for row in layers if row["model"] in DRAWN]))
        .mark_line(point=True)
        .encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0)),
            y=share,
            color=alt.Color("model:N", title="model", sort=list(DRAWN)),
            strokeDash=alt.StrokeDash(
                "arm:N", title="weights", legend=alt.Legend(symbolType="stroke", symbolStrokeColor="gray")
            ),
        )
        .properties(width=280, height=240)
    )
    while_training = (
        alt.Chart(alt.InlineData(values=curve))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "tokens:Q",
                title="gpt-relu, tokens of training",
                scale=alt.Scale(type="log", nice=False),
                axis=alt.Axis(values=list(TOKENS.values()), format="~s"),
            ),
            y=share,
            detail="layer:O",
            color=alt.Color("layer:O", title="layer", scale=alt.Scale(scheme="viridis")),
        )
        .properties(width=280, height=240)
    )
    both: alt.HConcatChart = alt.hconcat(by_layer, while_training).resolve_scale(
        color="independent", strokeDash="independent"
    )
    return both


if __name__ == "__main__":
    main()
