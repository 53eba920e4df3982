"""A store and the health of its hooks, as `actpipe info` shows them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from actpipe.quantities import readable_bytes, readable_count

LABEL, WIDTH = 18, 110
SHOWN_VALUES = 3
FLOAT16 = 65504


def store_lines(store: dict[str, Any]) -> list[str]:
    """Of what `actpipe info STORE --json` prints."""
    of_all = _in_all(list(store["advice"].values()))
    lines = [*_overview(store)]
    for sentence in of_all:
        lines += textwrap.wrap(f"advice: {sentence}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    for hook, health in store["health"].items():
        lines += ["", f"{hook}, {health['width']} wide", *_hook(health)]
        for sentence in store["advice"][hook]:
            lines += [] if sentence in of_all else _labelled("advice", sentence)
    return lines


def _in_all(advice: list[list[str]]) -> list[str]:
    """Sentences about the text, which every hook shares."""
    return [each for each in advice[0] if all(each in sentences for sentences in advice)]


def _overview(store: dict[str, Any]) -> Iterator[str]:
    yield f"store: {store['store']}"
    for part in ("model", "dataset"):
        described = store["config"].get(part)
        name = described.get("name") if isinstance(described, dict) else described
        if name is not None:
            yield f"{part}: {name}"
    yield f"complete: {store['complete']} ({store['slabs']} slabs)"
    counted, rows = readable_count(store["counted_rows"]), readable_count(store["rows"])
    yield f"rows: {rows} in sequences of {store['context']}, {counted} count; {store['documents']} documents"
    yield f"size: {readable_bytes(store['bytes'])} ({store['dtype']})"
    yield f"fingerprint: {store['fingerprint']}"


def _hook(health: dict[str, Any]) -> Iterator[str]:
    if health["norms"] is not None:
        yield from _labelled("norm of a row", _norms(health["norms"]))
    if health["gamma"] is not None:
        yield from _labelled("mean over spread", f"γ = ‖μ‖/‖σ‖ = {health['gamma']:.3g}")
    if health["channels"]:
        yield from _labelled("largest channels", _channels(health["channels"]))
    if health["constant_channels"]:
        yield from _labelled("constant channels", str(health["constant_channels"]))
    if health["spread"] is not None:
        yield from _labelled("effective rank", _rank(health["spread"], health["width"]))
    for label, counted in (("largest values", True), ("not counted", False)):
        if found := [each for each in health["largest"] if each["place"]["counted"] is counted]:
            yield from _labelled(label, _values(found))
    if health["sinks"] is not None:
        yield from _labelled("sinks", _sinks(health["sinks"]))
    if health["spread"] is not None:
        yield from _labelled("number types", _types(health))


def _labelled(label: str, text: str) -> list[str]:
    indent = "  " + " " * (LABEL + 1)
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"  {label:<{LABEL}} ", subsequent_indent=indent, break_on_hyphens=False
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _norms(norms: dict[str, Any]) -> str:
    q = {share: _number(norm) for share, norm in norms["quantiles"].items()}
    others = f"; rows that do not count: mean {_number(norms['others_mean'])}" if norms["others"] else ""
    return (
        f"mean {_number(norms['mean'])}, median about {q['0.5']}, 98 % from about {q['0.01']} to {q['0.99']}, "
        f"longest {_number(norms['longest'])}{others}"
    )


def _channels(channels: list[dict[str, Any]]) -> str:
    parts = [f"{each['channel']} ({each['energy']:.1%}, {each['variance']:.1%})" for each in channels]
    return f"{', '.join(parts)} (share of E‖x‖², share of the variance)"


def _rank(spread: dict[str, Any], width: int) -> str:
    return (
        f"{spread['participation']:.3g} (participation ratio); {spread['directions']} of {width} directions hold 90 % "
        f"of the variance, in a sample of {spread['rows']} rows"
    )


def _values(found: list[dict[str, Any]]) -> str:
    """The largest of each token and channel."""
    firsts: dict[tuple[int, int], dict[str, Any]] = {}
    for each in found:
        firsts.setdefault((each["place"]["token"], each["channel"]), each)
    return "; ".join(
        f"{_number(each['value'])} in channel {each['channel']} at {_place(each['place'])}"
        for each in [*firsts.values()][:SHOWN_VALUES]
    )


def _place(place: dict[str, Any]) -> str:
    token = repr(place["text"]).replace(" ", "␣") if place.get("text") is not None else f"token {place['token']}"
    return f"{token} (position {place['position']}, document {place['document']})"


def _sinks(sinks: dict[str, Any]) -> str:
    if not sinks["rows"]:
        return f"no row that counts is longer than {_number(sinks['threshold'])}, ten times the median"
    places = ", ".join(_place(each["place"]) for each in sinks["longest"][:SHOWN_VALUES])
    at = f" most at position {', '.join(map(str, sinks['positions'][:8]))};" if sinks["positions"] else ""
    return (
        f"{readable_count(sinks['rows'])} rows that count are longer than {_number(sinks['threshold'])}, ten times the "
        f"median, with {sinks['energy']:.1%} of Σ‖x‖²;{at} the longest: {places}"
    )


def _types(health: dict[str, Any]) -> str:
    lost = f"int8 would lose {health['spread']['int8_loss']:.2g} of the variance"
    largest = max((abs(each["value"]) for each in health["largest"]), default=None)
    if largest is None:
        return lost
    return f"float16 reaches {_number(FLOAT16 / max(largest, 1e-30))} times the largest value; {lost}"
