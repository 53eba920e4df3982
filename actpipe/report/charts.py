"""All charts, as Vega-Lite specifications without colours or data.

The page gives each its data by name and its colours from page.css (mark styles `trained`, `random_directions`, …), so
that light and dark are one specification.
"""

from __future__ import annotations

from typing import Any

import altair as alt

HEIGHT = 230  # pixels
# Ticks of a logarithmic axis that get a label: enough in one decade, not too many in five.
_LEADING = "round(1e6 * datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)))"
LOG_LABELS = f"indexof([1e6, 2e6, 3e6, 5e6, 7e6], {_LEADING}) >= 0 ? datum.label : ''"
CONTROLS = {"random_directions": [1, 0], "shuffled_tokens": [4, 3]}  # control → dash pattern of its line

_MEMBER_TOOLTIP = [
    alt.Tooltip("label:N", title="dictionary"),
    alt.Tooltip("l0:Q", title="L0", format=".1f"),
    alt.Tooltip("fvu:Q", title="FVU", format=".4f"),
    alt.Tooltip("delta_ce:Q", title="ΔCE, nats", format=".4f"),
    alt.Tooltip("loss_recovered:Q", title="loss recovered", format=".4f"),
    alt.Tooltip("dead:Q", title="dead", format=".1%"),
]


def specifications() -> dict[str, dict[str, Any]]:
    return {
        "fvu": sweep("fvu", "FVU, held out (lower is better)"),
        "delta_ce": sweep("delta_ce", "ΔCE in nats (lower is better)"),
        "density": distribution("share of tokens on which a feature fires", log=True),
        "token_r2": distribution("token R²"),
        "token_entropy": distribution("token entropy, bits"),
        "map": feature_map(),
        "activations": activations(),
    }


def sweep(score: str, title: str) -> dict[str, Any]:
    """Sparsity against fidelity: one point a dictionary, joined within a series by falling sparsity."""
    chosen = alt.param(name="chosen", value="")
    x = alt.X(
        "l0:Q",
        title="L0, features firing a token",
        scale=alt.Scale(type="log", nice=False, padding=24),
        axis=alt.Axis(tickCount=12, labelExpr=LOG_LABELS),
    )
    y = alt.Y(f"{score}:Q", title=title, scale=alt.Scale(zero=False, padding=16))
    base = alt.Chart(alt.NamedData(name="rows")).transform_filter(f"isValid(datum.l0) && isValid(datum.{score})")
    line = base.mark_line(style="series").encode(x=x, y=y, detail="series:N", order="l0:Q")
    is_chosen = "datum.member === chosen"
    point = base.mark_point(style="member", filled=True).encode(
        x=x,
        y=y,
        shape=alt.Shape("series:N", legend=None),
        size=alt.condition(is_chosen, alt.value(190), alt.value(80)),
        fillOpacity=alt.condition(is_chosen, alt.value(1), alt.value(0.25)),
        tooltip=_MEMBER_TOOLTIP,
    )
    label = base.mark_text(style="member-label").encode(
        x=x, y=y, text="tag:N", opacity=alt.condition(is_chosen, alt.value(1), alt.value(0.75))
    )
    return finished(alt.layer(line, point, label).add_params(chosen))


def distribution(title: str, *, log: bool = False) -> dict[str, Any]:
    """Share of features by score: bars for the trained features, lines for the controls."""
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(nice=False, zero=False)
    axis = alt.Axis(format="~%", tickCount=12, labelExpr=LOG_LABELS) if log else alt.Axis(format="~g", tickCount=6)
    x = alt.X("low:Q", title=title, scale=scale, axis=axis, bin="binned")
    y = alt.Y("share:Q", title="share of features", axis=alt.Axis(format="~%", tickCount=4), stack=None)
    base = alt.Chart(alt.NamedData(name="rows"))
    form = ".3%" if log else ".2f"
    tooltip = [
        alt.Tooltip("low:Q", title="from", format=form),
        alt.Tooltip("high:Q", title="to", format=form),
        alt.Tooltip("n:Q", title="features", format=","),
        alt.Tooltip("share:Q", title="share", format=".1%"),
    ]
    bars = base.transform_filter("datum.group === 'trained'").mark_bar(style="trained")
    layers: list[alt.Chart] = [bars.encode(x=x, x2="high:Q", y=y, tooltip=tooltip)]
    for control, dash in () if log else CONTROLS.items():
        line = base.transform_filter(f"datum.group === '{control}'")
        line = line.mark_line(style=control, interpolate="step-after", strokeDash=dash)
        layers.append(line.encode(x=alt.X("low:Q", scale=scale), y=y))
    return finished(alt.layer(*layers))


def feature_map() -> dict[str, Any]:
    """Every living feature of a dictionary: how often it fires against how far the token decides."""
    brush = alt.selection_interval(name="brush")
    chart = (
        alt.Chart(alt.NamedData(name="rows"))
        .mark_circle(style="feature")
        .encode(
            x=alt.X(
                "density:Q",
                title="share of tokens on which it fires",
                scale=alt.Scale(type="log", nice=False, padding=8),
                axis=alt.Axis(format="~%", tickCount=12, labelExpr=LOG_LABELS),
            ),
            y=alt.Y("r2:Q", title="token R²", scale=alt.Scale(padding=6)),
            opacity=alt.condition("datum.feature === chosen", alt.value(1), alt.value(0.4)),
            size=alt.condition("datum.feature === chosen", alt.value(180), alt.value(24)),
            tooltip=[
                alt.Tooltip("feature:Q", title="feature"),
                alt.Tooltip("text:N", title="top token"),
                alt.Tooltip("density:Q", title="density", format=".3%"),
                alt.Tooltip("r2:Q", title="token R²", format=".2f"),
            ],
        )
        .add_params(brush, alt.param(name="chosen", value=-1))
    )
    return finished(chart)


def activations() -> dict[str, Any]:
    """How large the activations of one feature are, with a tick for each context shown."""
    x = alt.X(
        "low:Q",
        title="activation",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format="~g", tickCount=12, labelExpr=LOG_LABELS),
        bin="binned",
    )
    bars = (
        alt.Chart(alt.NamedData(name="rows"))
        .mark_bar(style="activation")
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("n:Q", title="tokens", axis=alt.Axis(tickCount=3, format="~s")),
            tooltip=[
                alt.Tooltip("low:Q", title="from", format=".3g"),
                alt.Tooltip("high:Q", title="to", format=".3g"),
                alt.Tooltip("n:Q", title="tokens", format=","),
            ],
        )
    )
    ticks = alt.Chart(alt.NamedData(name="peaks")).mark_tick(style="peak").encode(x="value:Q", y=alt.value(3))
    return finished(alt.layer(bars, ticks), height=120)


def finished(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int = HEIGHT) -> dict[str, Any]:
    """The specification as the page takes it: as wide as its figure, without a theme of its own."""
    sized = chart.properties(
        width="container", height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )
    spec: dict[str, Any] = sized.to_dict()
    spec.pop("config", None)  # the page brings its own
    return spec
