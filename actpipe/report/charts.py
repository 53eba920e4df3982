"""All charts, as Vega-Lite specifications without colours or data.

The page gives each its data by name and the theme its colours (mark styles `trained`, `random_directions`, …), so that
light and dark are one specification. Charts of one dictionary have a parameter `member`, its number, and hold the data
of all. A selection named `brush` filters the table: `data-brush` of the figure says by what.
"""

from __future__ import annotations

from typing import Any

import altair as alt

HEIGHT = 230  # pixels
SMALL = 120
# Ticks of a logarithmic axis that get a label: enough in one decade, not too many in five.
_LEADING = "round(1e6 * datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)))"
LOG_LABELS = f"indexof([1e6, 2e6, 3e6, 5e6, 7e6], {_LEADING}) >= 0 ? datum.label : ''"
DASHES = ([1, 0], [4, 3], [1, 2], [6, 2, 1, 2])  # of the lines of controls, in their order
OWN = "features"  # the group of the dictionary's own units


def pareto(score: str, title: str, sparsity: str) -> dict[str, Any]:
    """Sparsity against fidelity: one point a dictionary, joined within a series, coloured by a score."""
    chosen, brush = alt.param(name="member", value=-1), alt.selection_interval(name="brush", zoom=False)
    x = alt.X(
        "l0:Q",
        title=sparsity,
        scale=alt.Scale(type="log", nice=False, padding=24),
        axis=alt.Axis(tickCount=12, labelExpr=LOG_LABELS),
    )
    y = alt.Y(f"{score}:Q", title=title, scale=alt.Scale(zero=False, padding=16))
    base = alt.Chart(alt.NamedData(name="rows")).transform_filter(f"isValid(datum.l0) && isValid(datum.{score})")
    line = base.mark_line(style="series").encode(x=x, y=y, detail="series:N", order="l0:Q")
    is_chosen = "datum.member === member"
    point = base.mark_point(style="member", filled=True).encode(
        x=x,
        y=y,
        shape=alt.Shape("series:N", legend=None),
        size=alt.condition(is_chosen, alt.value(220), alt.value(90)),
        fill=alt.Fill("score:Q", title="rules, F1", scale=alt.Scale(zero=False)),
        fillOpacity=alt.condition(brush, alt.value(1), alt.value(0.25)),
        tooltip=_told(
            ("label:N", "dictionary", ""),
            ("l0:Q", "sparsity", ".1f"),
            ("fvu:Q", "FVU", ".4f"),
            ("delta_ce:Q", "ΔCE, nats", ".4f"),
            ("score:Q", "rules, F1", ".3f"),
            ("dead:Q", "dead", ".1%"),
        ),
    )
    label = base.mark_text(style="member-label").encode(
        x=x, y=y, text="tag:N", opacity=alt.condition(is_chosen, alt.value(1), alt.value(0.75))
    )
    return finished(alt.layer(line, point.add_params(brush), label).add_params(chosen))


def distribution(title: str, controls: list[str], *, log: bool = False) -> dict[str, Any]:
    """Share of features by score: bars for the features, lines for the controls."""
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(nice=False, zero=False)
    axis = alt.Axis(format="~%", tickCount=12, labelExpr=LOG_LABELS) if log else alt.Axis(format="~g", tickCount=6)
    x = alt.X("low:Q", title=title, scale=scale, axis=axis, bin="binned")
    y = alt.Y("share:Q", title="share of features", axis=alt.Axis(format="~%", tickCount=4), stack=None)
    form = ".3%" if log else ".2f"
    tooltip = _told(
        ("low:Q", "from", form), ("high:Q", "to", form), ("n:Q", "features", ","), ("share:Q", "share", ".1%")
    )
    bars = _of_member().transform_filter(f"datum.group === '{OWN}'").mark_bar(style="trained")
    layers: list[alt.Chart] = [bars.encode(x=x, x2="high:Q", y=y, tooltip=tooltip)]
    for control, dash in zip(controls, DASHES, strict=False):
        line = _of_member().transform_filter(f"datum.group === '{control}'")
        line = line.mark_line(style=control, interpolate="step-after", strokeDash=dash)
        layers.append(line.encode(x=alt.X("low:Q", scale=scale), y=y))
    return finished(alt.layer(*layers).add_params(_member()))


def by_density(stratum: str, metric: str, groups: list[str], densities: list[str]) -> dict[str, Any]:
    """A score by density, features beside controls: from the 10th to the 90th percentile, quartiles, median."""
    own = _of_member().transform_filter(f"datum.metric === metric && datum.stratum === '{stratum}'")
    x = alt.X("density:O", title="share of tokens on which a unit fires", sort=densities, axis=alt.Axis(labelAngle=0))
    side = alt.XOffset("group:N", sort=groups)
    y = alt.Y("p10:Q", title="score", scale=alt.Scale(zero=True))
    colour = alt.Color(
        "group:N", title=None, sort=groups, legend=alt.Legend(orient="top", labelExpr=_WORDS, symbolStrokeWidth=3)
    )
    percentiles = (("p50:Q", "median", ".3f"), ("p10:Q", "10 %", ".3f"), ("p90:Q", "90 %", ".3f"))
    tooltip = _told(("group:N", "of", ""), ("n:Q", "units", ","), *percentiles)
    whole = own.mark_rule().encode(x=x, xOffset=side, y=y, y2="p90:Q", color=colour)
    half = own.mark_bar(width={"band": 0.7}, opacity=0.6).encode(
        x=x, xOffset=side, y=alt.Y("p25:Q"), y2="p75:Q", color=colour, tooltip=tooltip
    )
    middle = own.mark_tick(style="median", width={"band": 0.8}).encode(
        x=x, xOffset=side, y=alt.Y("p50:Q"), tooltip=tooltip
    )
    chosen = alt.param(name="metric", value=metric)
    return finished(alt.layer(whole, half, middle).add_params(_member(), chosen))


_WORDS = "replace(datum.label, regexp('_', 'g'), ' ')"


def unit_map() -> dict[str, Any]:
    """All living units of a dictionary: how often they fire against how far the token decides."""
    brush = alt.selection_interval(name="brush", zoom=False)
    density = alt.X(
        "density:Q",
        title="share of tokens on which it fires",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format="~%", tickCount=12, labelExpr=LOG_LABELS),
    )
    chart = (
        _of_member()
        .mark_rect(style="trained-cell")
        .encode(
            x=density,
            x2="density_high:Q",
            y=alt.Y("r2:Q", title="token R²", scale=alt.Scale(nice=False, zero=False)),
            y2="r2_high:Q",
            fillOpacity=alt.FillOpacity("n:Q", scale=alt.Scale(type="sqrt", range=[0.12, 1]), legend=None),
            tooltip=_told(
                ("density:Q", "density from", ".3%"), ("r2:Q", "token R² from", ".2f"), ("n:Q", "features", ",")
            ),
        )
        .add_params(brush, _member())
    )
    return finished(chart)


def stability() -> dict[str, Any]:
    """In how many of the other seeds the units of each dictionary are found."""
    chart = (
        alt.Chart(alt.NamedData(name="rows"))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of features", axis=alt.Axis(format="~%"), stack="zero"),
            y=alt.Y("label:N", title=None, sort=None),
            color=alt.Color("seeds:O", title="found in seeds", legend=alt.Legend(orient="top")),
            order=alt.Order("seeds:Q", sort="descending"),
            tooltip=[
                alt.Tooltip("label:N", title="dictionary"),
                alt.Tooltip("seeds:Q"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    return finished(chart)


def activations() -> dict[str, Any]:
    """How large the activations of one unit are, a tick for each context shown, a line for each decile."""
    x = alt.X(
        "low:Q",
        title="activation",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format="~g", tickCount=12, labelExpr=LOG_LABELS),
        bin="binned",
    )
    bars = _rows().mark_bar(style="activation").encode(x=x, x2="high:Q", y=_tokens(), tooltip=_counted(".3g"))
    ticks = alt.Chart(alt.NamedData(name="peaks")).mark_tick(style="peak").encode(x="value:Q", y=alt.value(3))
    deciles = alt.Chart(alt.NamedData(name="deciles"))
    recall = alt.Tooltip("recall:Q", title="of these firings the rules predict", format=".0%")
    lines = deciles.mark_rule(style="decile").encode(x="value:Q", tooltip=recall)
    labels = deciles.mark_text(style="decile-label").encode(
        x="value:Q", y=alt.value(14), text=alt.Text("recall:Q", format=".0%")
    )
    return finished(alt.layer(bars, ticks, lines, labels), height=SMALL)


def positions() -> dict[str, Any]:
    """Where in the sequence one unit fires."""
    x = alt.X("low:Q", title="position", scale=alt.Scale(nice=False), axis=alt.Axis(format="d"), bin="binned")
    bars = _rows().mark_bar(style="activation").encode(x=x, x2="high:Q", y=_tokens(), tooltip=_counted("d"))
    return finished(bars, height=SMALL)


def steering() -> dict[str, Any]:
    """What adding the direction of one unit does to the tokens it raises, against what it costs."""
    x = alt.X("x:Q", title="KL, nats", scale=alt.Scale(nice=False))
    y = alt.Y("y:Q", title="lift", scale=alt.Scale(zero=False))
    band = (
        _rows().mark_area(style="trained-band").encode(x=x, y=alt.Y("low:Q", title="lift"), y2="high:Q", detail="arm:N")
    )
    line = _rows().mark_line(style="trained-line", point=True).encode(x=x, y=y, detail="arm:N", order="step:Q")
    return finished(alt.layer(band, line), height=SMALL)


def _rows() -> alt.Chart:
    return alt.Chart(alt.NamedData(name="rows"))


def _member() -> alt.Parameter:
    return alt.param(name="member", value=-1)


def _of_member() -> alt.Chart:
    return _rows().transform_filter("datum.member === member")


def _tokens() -> alt.Y:
    return alt.Y("n:Q", title="tokens", axis=alt.Axis(tickCount=3, format="~s"))


def _counted(form: str) -> list[alt.Tooltip]:
    return _told(("low:Q", "from", form), ("high:Q", "to", form), ("n:Q", "tokens", ","))


def _told(*rows: tuple[str, str, str]) -> list[alt.Tooltip]:
    """Lines of a tooltip: field, title, and how a number is written."""
    return [alt.Tooltip(field, title=title, format=form or alt.Undefined) for field, title, form in rows]


def finished(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int = HEIGHT) -> dict[str, Any]:
    """The specification as the page takes it: as wide as its figure, without a theme of its own."""
    sized = chart.properties(
        width="container", height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )
    spec: dict[str, Any] = sized.to_dict()
    spec.pop("config", None)  # the page brings its own
    return spec
