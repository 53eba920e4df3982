"""The charts of the page, as Vega-Lite specifications without colours or data (see actpipe/report/charts.py)."""

from __future__ import annotations

from typing import Any

import altair as alt

from actpipe.report.charts import LOG_LABELS, finished

from .config import TRAINED, UNTRAINED

ARMS = (TRAINED, UNTRAINED)  # → the styles of their marks
# The page says whether the measure that is shown is a share.
AMOUNT = "percent ? format(datum.value, '~%') : format(datum.value, '~s')"
_TOOLTIP = [
    alt.Tooltip("place:N", title="at"),
    alt.Tooltip("who:N", title="model"),
    alt.Tooltip("shown:N", title="mean"),
]


def specifications() -> dict[str, dict[str, Any]]:
    layers = alt.X(
        "layer:Q",
        title="layer",
        axis=alt.Axis(tickMinStep=1, format="d"),
        scale=alt.Scale(nice=False, zero=False, padding=12),
    )
    octaves = alt.X(
        "middle:Q",
        title="position in the sequence, the first is 1",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(tickCount=12, labelExpr=LOG_LABELS),
    )
    return {
        "layers": arms(layers),
        "positions": arms(octaves),
        "tasks": tasks(layers),
        "rates": rates(),
        "cells": cells(),
    }


def arms(x: alt.X) -> dict[str, Any]:
    """A line an arm over its interval."""
    layers: list[alt.Chart] = []
    y = alt.Y("mean:Q", title=None, axis=_axis(), scale=alt.Scale(zero=True))
    for arm in ARMS:
        own = _rows().transform_filter(f"datum.arm === '{arm}' && isValid(datum.mean)")
        band = own.transform_filter("isValid(datum.low)").mark_area(style=f"{arm}-band")
        layers += [
            band.encode(x=x, y=alt.Y("low:Q", title=None, axis=_axis()), y2="high:Q"),
            own.mark_line(style=f"{arm}-line").encode(x=x, y=y),
            own.mark_point(style=f"{arm}-point", filled=True).encode(x=x, y=y, tooltip=_TOOLTIP),
        ]
    return finished(alt.layer(*layers).add_params(_percent()))


def tasks(x: alt.X) -> dict[str, Any]:
    """A line a task, of the model alone."""
    y = alt.Y("mean:Q", title=None, axis=_axis(), scale=alt.Scale(zero=True))
    colour = alt.Color("task:N", title=None, legend=alt.Legend(orient="top"))
    own = _rows().transform_filter("isValid(datum.mean)")
    line = own.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
    tooltip = [alt.Tooltip("place:N", title="at"), alt.Tooltip("task:N"), alt.Tooltip("shown:N", title="mean")]
    point = own.mark_point(filled=True, size=36).encode(x=x, y=y, color=colour, tooltip=tooltip)
    return finished(alt.layer(line, point).add_params(_percent()))


def rates() -> dict[str, Any]:
    """How often the units of one hook fire: bars for the model, a line for its initialisation."""
    scale = alt.Scale(type="log", nice=False)
    axis = alt.Axis(format="~%", tickCount=12, labelExpr=LOG_LABELS)
    x = alt.X("low:Q", title="share of tokens on which a unit fires", scale=scale, axis=axis, bin="binned")
    y = alt.Y("share:Q", title="share of units", axis=alt.Axis(format="~%", tickCount=4), stack=None)
    bars = _rows().transform_filter("datum.arm === 'trained'").mark_bar(style="trained")
    line = _rows().transform_filter("datum.arm === 'untrained'")
    line = line.mark_line(style="untrained-line", interpolate="step-after")
    return finished(
        alt.layer(
            bars.encode(x=x, x2="high:Q", y=y, tooltip=_rate_tooltip()),
            line.encode(x=alt.X("low:Q", scale=scale), y=y),
        )
    )


def cells() -> dict[str, Any]:
    """How often the units of every layer fire, one row a layer: the stronger a cell, the more units."""
    x = alt.X(
        "low:Q",
        title="share of tokens on which a unit fires",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format="~%", tickCount=12, labelExpr=LOG_LABELS),
    )
    y = alt.Y("layer:O", title="layer", axis=alt.Axis(labelOverlap="greedy"))
    filled = alt.FillOpacity("share:Q", scale=alt.Scale(type="sqrt", domainMin=0, range=[0.04, 1]), legend=None)
    layers = [
        _rows()
        .transform_filter(f"datum.arm === '{arm}'")
        .mark_rect(style=f"{arm}-cell")
        .encode(x=x, x2="high:Q", y=y, fillOpacity=filled, tooltip=[alt.Tooltip("layer:O"), *_rate_tooltip()])
        for arm in ARMS
    ]
    return finished(alt.layer(*layers))


def _rows() -> alt.Chart:
    return alt.Chart(alt.NamedData(name="rows"))


def _percent() -> alt.Parameter:
    return alt.param(name="percent", value=True)


def _axis() -> alt.Axis:
    return alt.Axis(labelExpr=AMOUNT, tickCount=5)


def _rate_tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("low:Q", title="from", format=".3%"),
        alt.Tooltip("high:Q", title="to", format=".3%"),
        alt.Tooltip("n:Q", title="units", format=","),
        alt.Tooltip("share:Q", title="share", format=".1%"),
    ]
