"""How charts look, as a Vega-Lite configuration; `$name` stands for the property `--name` of page.css."""

from __future__ import annotations

from typing import Any

_OWN, _RANDOM, _SHUFFLED, _MARK = "$accent", "$random", "$shuffled", "$mark"


def _line(colour: str, **more: Any) -> dict[str, Any]:
    return {"color": colour, "stroke": colour, "strokeWidth": 2, **more}


def _area(colour: str, opacity: float, **more: Any) -> dict[str, Any]:
    return {"color": colour, "fill": colour, "fillOpacity": opacity, "stroke": None, **more}


_AXIS = {
    **dict.fromkeys(("domainColor", "gridColor", "tickColor"), "$line"),
    **dict.fromkeys(("labelColor", "titleColor"), "$muted"),
    "titleFontWeight": "normal",
    "labelFontSize": 11,
    "titleFontSize": 12,
    "titlePadding": 8,
    "gridOpacity": 0.7,
    "tickSize": 4,
    "domain": False,
    "labelOverlap": "greedy",
    "labelSeparation": 8,
}
_LEGEND = {
    **dict.fromkeys(("labelColor", "titleColor"), "$muted"),
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "symbolStrokeWidth": 0,
}

THEME: dict[str, Any] = {
    "background": "transparent",
    "font": "$sans",
    "view": {"stroke": None},
    "axis": _AXIS,
    "axisX": {"grid": False, "domain": True},
    "axisY": {"ticks": False},
    "legend": _LEGEND,
    "range": {
        "category": [_OWN, _RANDOM, _SHUFFLED, _MARK, "$ink"],
        **{key: [_OWN, _MARK] for key in ("ramp", "ordinal")},
    },
    # Marks by what they show: a chart says `style`, never a colour.
    "style": {
        "trained": _area(_OWN, 0.5, binSpacing=1),
        "random_directions": _line(_RANDOM),
        "shuffled_tokens": _line(_SHUFFLED),
        "series": {"color": _OWN, "stroke": _OWN, "strokeOpacity": 0.45, "strokeWidth": 1.5},
        "member": {"color": _OWN, "stroke": "$line", "strokeWidth": 1, "cursor": "pointer"},
        "member-label": {"color": "$ink", "fill": "$ink", "fontSize": 11, "align": "left", "dx": 9, "dy": -8},
        "activation": _area(_MARK, 0.75, binSpacing=1),
        "trained-line": _line(_OWN, fill=None),
        "trained-point": {"color": _OWN, "fill": _OWN, "size": 36},
        "trained-band": _area(_OWN, 0.2),
        "trained-cell": {"color": _OWN, "fill": _OWN, "stroke": None},
        "untrained-line": _line(_RANDOM, fill=None, strokeDash=[5, 3]),
        "untrained-point": {"color": _RANDOM, "fill": _RANDOM, "size": 24},
        "untrained-band": _area(_RANDOM, 0.2),
        "untrained-cell": {"color": _RANDOM, "fill": _RANDOM, "stroke": None},
        "median": {"color": "$ink", "fill": "$ink", "thickness": 2},
        "peak": {
            "color": "$ink",
            "stroke": "$ink",
            "strokeOpacity": 0.6,
            "orient": "vertical",
            "size": 7,
            "thickness": 1,
        },
        "decile": {"color": "$muted", "stroke": "$muted", "strokeDash": [2, 3], "strokeOpacity": 0.7},
        "decile-label": {"color": "$muted", "fill": "$muted", "fontSize": 9, "align": "left", "dx": 2},
    },
}

# What charts.js gives to Vega-Embed.
EMBED: dict[str, Any] = {
    "ast": True,  # evaluated by the interpreter: the page's security policy forbids eval
    "actions": False,
    "renderer": "canvas",
    "logLevel": 1,  # errors
    "defaultStyle": False,
    "tooltip": {"disableDefaultStyle": True, "id": "tooltip", "offsetX": 12, "offsetY": 12},
    "config": THEME,
}
