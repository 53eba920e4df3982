"""Figures of a comparison: Vega-Lite by Altair, for the page without colours, for papers as PNG and SVG.

A figure that has nothing to show is left out. vl-convert draws without a browser (docs/decisions/0017-vl-convert.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from actpipe.files import write_bytes
from actpipe.progress import Bar
from actpipe.report.charts import finished

from .designs import AS_GIVEN, ISO_LOSS, ISO_PARAMETER
from .measures import HEADLINE
from .stand import Row
from .systems import ALL

# Okabe and Ito's colours, which colour-blind readers tell apart; the eighth, black, is for text.
_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442"]
_PAPER = {"width": 340, "height": 240, "pixels": 3}  # pixels of a PNG a unit of length
_TITLES = {"rules_f1_std": "rules, F1", "ms_c": "MonoSemanticity", "vendi_ratio": "Vendi ratio",
           "concept_f1_std": "concepts, F1"}  # fmt: skip
_STRICTEST = (ISO_LOSS, ISO_PARAMETER, AS_GIVEN)


@dataclass(frozen=True, kw_only=True)
class Figure:
    title: str
    spec: dict[str, Any]  # draws the data called `rows`
    rows: list[dict[str, Any]]


def figures_of(tables: Mapping[str, Sequence[Row]]) -> dict[str, Figure]:
    """By the stem of the file."""
    means = [row for row in tables["means"] if row["role"] == "headline" and row["stratum"] == "all" and row["n"]]
    points = [_point(row) for row in means if row["place"] == ALL and not row["twin"]]
    levels = _once(_where(points, "loss", "l0"))
    found = {"loss": Figure(title="Loss against sparsity", spec=_loss(), rows=levels)}
    for metric in HEADLINE:
        title = _TITLES[metric]
        own = [row for row in points if row["metric"] == metric]
        layers = [_point(row) for row in means if row["metric"] == metric and row["place"] != ALL and not row["twin"]]
        for quantity, name in (("l0", "sparsity"), ("loss", "loss")):
            found[f"{metric}-{name}"] = Figure(
                title=f"{title}, against {name}", spec=_score(quantity, title), rows=_where(own, quantity, "mean")
            )
        surface = [row for row in tables["surfaces"] if row["metric"] == metric]
        found[f"{metric}-attained"] = Figure(
            title=f"{title}: what is attained", spec=_attained(), rows=_staircase(surface)
        )
        found[f"{metric}-layers"] = Figure(title=f"{title}, by layer", spec=_layers(title), rows=_where(layers, "mean"))
    found["differences"] = Figure(
        title="Differences at equal densities", spec=_differences(), rows=_differing(tables["pairs"])
    )
    return {stem: figure for stem, figure in found.items() if figure.rows}


def write_figures(folder: Path, figures: Mapping[str, Figure], bar: Bar) -> None:
    import vl_convert

    for stem, figure in figures.items():
        spec = json.dumps(_for_paper(figure))
        write_bytes(folder / f"{stem}.svg", vl_convert.vegalite_to_svg(spec).encode())
        bar.advance(1)
        write_bytes(folder / f"{stem}.png", vl_convert.vegalite_to_png(spec, scale=_PAPER["pixels"]))
        bar.advance(1)


def _for_paper(figure: Figure) -> dict[str, Any]:
    sizes = {name: _PAPER[name] for name in ("width", "height")}
    spec = {**figure.spec, **sizes, "autosize": {"type": "pad"}, "title": figure.title, "background": "white"}
    return {**spec, "datasets": {"rows": figure.rows}, "config": {"range": {"category": _COLOURS}}}


def _point(row: Row) -> Row:
    """Numbers of one level, null where undefined."""
    kept = ("arm", "level", "place", "metric", "loss", "loss_low", "loss_high", "l0", "l0_low", "l0_high", "mean",
            "low", "high", "control_mean")  # fmt: skip
    return {name: _known(row[name]) for name in kept}


def _once(points: Sequence[Row]) -> list[Row]:
    """One metric of each level."""
    found = {(row["arm"], row["level"]): row for row in points}
    return list(found.values())


def _where(points: Sequence[Row], *names: str) -> list[Row]:
    """Those with these numbers; L0 has a logarithmic axis."""
    return [row for row in points if all(row[name] is not None for name in names) and (row["l0"] or "l0" not in names)]


def _staircase(surface: Sequence[Row]) -> list[Row]:
    """Where half of the replicates attain anything; a bound of the loss that leaves an arm nothing has no line."""
    return [
        {"arm": row["arm"], "l0": row["l0_bound"], "attained": row["attained"], "low": _known(row["low"]),
         "high": row["high"], "loss": _bound(row["loss_bound"])}
        for row in surface
        if not np.isnan(row["attained"])
    ]  # fmt: skip


def _bound(loss: float | None) -> str:
    return "any loss" if loss is None else f"at most {loss:.3f} nats"


def _differing(pairs: Sequence[Row]) -> list[Row]:
    """Of each pair and metric the strictest design that the arms allow."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in pairs:
        if (row["role"], row["stratum"], row["place"], row["twin"], row["estimate"]) == (
            "headline", "all", ALL, False, "density_adjusted",
        ) and row["verdict"] != "no overlap":  # fmt: skip
            found.setdefault((row["first"], row["second"], row["metric"]), {})[row["design"]] = row
    chosen = [next(each[name] for name in _STRICTEST if name in each) for each in found.values()]
    chosen = [row for row in chosen if not np.isnan(row["low"])]
    return [
        {"arms": f"{row['first']} − {row['second']}", "metric": _TITLES[row["metric"]], "design": row["design"],
         **{name: _known(row[name]) for name in ("difference", "low", "high")}}
        for row in chosen
    ]  # fmt: skip


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _rows() -> alt.Chart:
    return alt.Chart(alt.NamedData(name="rows"))


def _axis(quantity: str) -> alt.X:
    if quantity == "loss":
        return alt.X("loss:Q", title="loss of the system, nats a token", scale=alt.Scale(zero=False, padding=16))
    return alt.X(
        "l0:Q",
        title="units that hold 95 % of what is written (L0_eff)",
        scale=alt.Scale(type="log", base=2, nice=False, padding=16),
        axis=alt.Axis(format="~s", tickCount=6),
    )


_ARM = alt.Color(
    "arm:N", title=None, sort=None, legend=alt.Legend(orient="top", columns=3, symbolLimit=0, symbolOpacity=1)
)
_SHAPE = alt.Shape("arm:N", title=None, sort=None, legend=None)
_TOOLTIP = [alt.Tooltip("arm:N"), alt.Tooltip("level:N")]


def _tips(*names: str) -> list[alt.Tooltip]:
    return [*_TOOLTIP, *(alt.Tooltip(f"{name}:Q", format=".4g") for name in names)]


def _loss() -> dict[str, Any]:
    y = alt.Y("loss:Q", title="loss of the system, nats a token", scale=alt.Scale(zero=False, padding=16))
    rows = _rows()
    line = rows.mark_line(strokeWidth=1.5).encode(x=_axis("l0"), y=y, color=_ARM, order="l0:Q")
    across = rows.mark_rule(strokeOpacity=0.6).encode(x="l0_low:Q", x2="l0_high:Q", y=y, color=_ARM)
    up = rows.mark_rule(strokeOpacity=0.6).encode(x=_axis("l0"), y="loss_low:Q", y2="loss_high:Q", color=_ARM)
    point = rows.mark_point(filled=True, size=70).encode(
        x=_axis("l0"), y=y, color=_ARM, shape=_SHAPE, tooltip=_tips("l0", "loss")
    )
    return finished(alt.layer(line, across, up, point))


def _score(quantity: str, title: str) -> dict[str, Any]:
    """A ribbon where an arm has levels, an interval at each of them, and a tick where the hardest control stands."""
    x, y = _axis(quantity), alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False, padding=12))
    rows = _rows()
    ribbon = rows.mark_area(opacity=0.18).encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q", color=_ARM)
    line = rows.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=_ARM, order=f"{quantity}:Q")
    interval = rows.mark_rule(strokeOpacity=0.7).encode(x=x, y="low:Q", y2="high:Q", color=_ARM)
    control = rows.mark_tick(orient="horizontal", thickness=2, size=12, opacity=0.6).encode(
        x=x, y="control_mean:Q", color=_ARM
    )
    point = rows.mark_point(filled=True, size=70).encode(
        x=x, y=y, color=_ARM, shape=_SHAPE, tooltip=_tips("mean", "low", "high", "control_mean")
    )
    return finished(alt.layer(ribbon, line, interval, control, point))


def _attained() -> dict[str, Any]:
    """Staircases: the median of the replicates and the ribbon around it; dashed where the loss is bounded too."""
    x = _axis("l0")
    y = alt.Y("attained:Q", title="above the hardest control", scale=alt.Scale(zero=False, padding=12))
    dashes = alt.StrokeDash("loss:N", title=None, sort=None, legend=alt.Legend(orient="top", symbolLimit=0))
    rows = _rows()
    ribbon = rows.mark_area(opacity=0.15, interpolate="step-after").encode(
        x=x, y="low:Q", y2="high:Q", color=_ARM, detail="loss:N"
    )
    line = rows.mark_line(strokeWidth=1.5, interpolate="step-after").encode(
        x=x, y=y, color=_ARM, strokeDash=dashes, order="l0:Q", tooltip=[*_TOOLTIP[:1], alt.Tooltip("loss:N")]
    )
    return finished(alt.layer(ribbon, line))


def _layers(title: str) -> dict[str, Any]:
    x = alt.X("place:N", title=None, axis=alt.Axis(labelAngle=0))
    apart = alt.XOffset("arm:N", sort=None)
    y = alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False, padding=12))
    rows = _rows()
    interval = rows.mark_rule(strokeOpacity=0.7).encode(x=x, xOffset=apart, y="low:Q", y2="high:Q", color=_ARM)
    point = rows.mark_point(filled=True, size=45).encode(
        x=x, xOffset=apart, y=y, color=_ARM, shape=_SHAPE, tooltip=_tips("mean", "low", "high")
    )
    return finished(alt.layer(interval, point))


def _differences() -> dict[str, Any]:
    y = alt.Y("arms:N", title=None, sort=None, axis=alt.Axis(labelLimit=220))
    apart = alt.YOffset("metric:N", sort=None)
    colour = alt.Color("metric:N", title=None, sort=None, legend=alt.Legend(orient="top", columns=2, symbolLimit=0))
    rows = _rows()
    zero = alt.Chart(alt.NamedData(name="rows")).mark_rule(strokeDash=[3, 3], opacity=0.5).encode(x=alt.datum(0))
    interval = rows.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("low:Q", title="first − second, with 95 %"), x2="high:Q", y=y, yOffset=apart, color=colour
    )
    tips = [alt.Tooltip(f"{name}:N") for name in ("arms", "metric", "design")]
    point = rows.mark_point(filled=True, size=60).encode(
        x="difference:Q", y=y, yOffset=apart, color=colour,
        tooltip=[*tips, *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("difference", "low", "high"))],
    )  # fmt: skip
    return finished(alt.layer(zero, interval, point))
