"""The panel of one unit, as blocks that panel.js draws: it knows kinds of blocks and nothing of scores.

| kind | content |
|---|---|
| `text` | parts: strings, in which token text stands between backticks, and {"strong": "…"} |
| `strips` | where the scores stand: `Strips.of_unit` |
| `windows` | {title, about, windows}: `windows.as_shown` of each |
| `chart` | {title, about, chart, datasets}: one of the report's specifications and its data |
| `lists` | columns of {title, about, rows: [[token, "…", per cent of the width]]} |
| `units` | {title, about, units: [[member, number], "…"]}: links |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .member_units import MemberUnits
from .payload import Vocabulary, number, visible
from .strips import Strips, share, three_digits, two_digits
from .tables import Row
from .windows import STRATA, as_shown

Block = list[Any]  # [kind, content]

NEIGHBOURS = 8
_KINDS = {"direction": "nearest direction", "cofiring": "fires together"}
_EFFECTS = {
    "kl_zero": "KL at tokens on which it fires, when it is silenced",
    "delta_ce_zero": "rise of the loss there",
    "kl_sum_zero": "KL summed over the sequence, a firing",
    "atp_zero": "first-order estimate of the rise of the loss, nats a token",
    "output_score": "output score of steering",
    "steering_area": "mean lift of its tokens by steering",
    "input_score": "share of its activation on the tokens that it raises",
}


class Panels:
    """Of the units of one dictionary."""

    def __init__(
        self, units: MemberUnits, vocabulary: Vocabulary, numbering: dict[str, int], widths: dict[str, int]
    ) -> None:
        self._units, self._vocabulary, self._numbering, self._widths = units, vocabulary, numbering, widths
        self.strips = Strips(units)
        self._bins = {row["feature"]: row["bins"] for row in units.rows("histograms").to_pylist()}
        self._positions = {row["feature"]: row["bins"] for row in units.rows("positions").to_pylist()}
        self._curves = _by_unit([row for row in units.rows("curves").to_pylist() if row["kind"] == "steering"])
        near = units.rows("neighbours")
        close = near.filter(near["rank"].to_numpy() < NEIGHBOURS).to_pylist() if near.num_rows else []
        self._near = _by_unit(close)

    def blocks(self, place: int, windows: dict[str, list[Row]]) -> list[Block]:
        unit = {name: values[place] for name, values in self._units.columns.items()}
        if not unit["alive"]:
            return [["text", [_never(self._units.tables.summary["tokens"])]]]
        found = [
            ["text", self._activity(unit)],
            *self._explained(unit["feature"]),
            ["strips", self.strips.of_unit(place)],
            *self._windows(unit, windows),
            ["lists", self._lists(unit)],
            *self._neighbours(unit),
            *self._seeds(unit["feature"]),
            *self._effects(unit["feature"]),
            *self._charts(unit, windows),
            ["text", [_moments(unit)]],
        ]
        return [block for block in found if block[1]]

    def _activity(self, unit: Row) -> list[Any]:
        total = self._units.tables.summary["tokens"]
        parts: list[Any] = [f"Fires on {unit['count']:,} of {total:,} tokens"]
        if unit["top_tokens"]:
            token = self._vocabulary.quoted(unit["top_tokens"][0])
            parts += ["; ", {"strong": share(unit["top_token_share"][0])}, f" of its activation falls on {token}"]
        if unit["token_r2"] is not None:
            parts += [
                "; the current token explains ",
                {"strong": share(max(0.0, unit["token_r2"]))},
                " of its variance",
            ]
        return [*parts, "."]

    def _explained(self, number_: int) -> list[Block]:
        """Rules in words with their score, what judges wrote and how they judge, and the best concepts."""
        blocks = []
        judged = self._units.judgements.get(number_, [])
        for row in self._units.explanations.get(number_, []):
            parts = [{"strong": row["source"][:1].upper() + row["source"][1:]}, f": {visible(row['text'])}. "]
            if row["source"] == "rules":
                parts += self._rules_score(number_)
            parts += [_judged(each) for each in judged if each["source"] == row["source"] and each["control"] is None]
            blocks.append(["text", parts])
        if concepts := self._units.concepts.get(number_, [])[:3]:
            said = "; ".join(
                f"{row['concept']} (F1 {two_digits(row['f1_std'])})" for row in concepts if row["f1_std"] is not None
            )
            blocks.append(["text", [{"strong": "Concepts"}, f": {said}."]])
        return blocks

    def _rules_score(self, number_: int) -> list[Any]:
        place = self._units.places[number_]
        f1 = self._units.scores["rules_f1_std"][place]
        if f1 != f1:
            return []
        (low, high), above = self._units.interval, self._units.above[place]
        said: list[Any] = [
            "F1 on held-out text ",
            {"strong": two_digits(f1)},
            f" [{two_digits(low[place])}, {two_digits(high[place])}]",
        ]
        if above == above:
            side = "above" if above >= 0 else "below"
            said.append(f", {two_digits(abs(above))} {side} the hardest control at its density")
        return [*said, ". "]

    def _windows(self, unit: Row, windows: dict[str, list[Row]]) -> list[Block]:
        blocks = []
        for stratum, (title, about) in STRATA.items():
            if shown := [as_shown(row, unit["max"]) for row in windows[stratum]]:
                for window in shown:
                    self._vocabulary.use(window[2])
                blocks.append(["windows", {"title": title, "about": about, "windows": shown}])
        return blocks

    def _lists(self, unit: Row) -> list[dict[str, Any]]:
        logits = "direction of the logits, final norm’s scale left out"
        lists = [("Heaviest tokens", "share of activation", unit["top_tokens"], unit["top_token_share"], share)]
        lists += [("Raises", logits, unit["top_logit_tokens"], unit["top_logits"], two_digits)]
        lists += [("Lowers", logits, unit["bottom_logit_tokens"], unit["bottom_logits"], two_digits)]
        return [
            {"title": title, "about": about, "rows": self._listed(tokens, values, write)}
            for title, about, tokens, values, write in lists
            if tokens
        ]

    def _listed(self, tokens: list[int], values: list[float], write: Callable[[float], str]) -> list[list[Any]]:
        largest = max(map(abs, values)) or 1.0
        texts, widths = map(write, values), (round(100 * abs(value) / largest) for value in values)
        return [list(row) for row in zip(self._vocabulary.use(tokens), texts, widths, strict=True)]

    def _neighbours(self, unit: Row) -> list[Block]:
        near = self._near.get(unit["feature"], [])
        blocks = []
        for kind, title in _KINDS.items():
            rows = sorted((row for row in near if row["kind"] == kind), key=lambda row: int(row["rank"]))
            links = [[self._link(self._units.name, row), two_digits(row["value"])] for row in rows]
            if links:
                about = "cosine" if kind == "direction" else "φ of firing"
                blocks.append(["units", {"title": title[:1].upper() + title[1:], "about": about, "units": links}])
        if not near and unit["neighbour"] is not None:
            link = [[self._units.index, unit["neighbour"]], two_digits(unit["neighbour_cosine"])]
            blocks.append(["units", {"title": "Nearest direction", "about": "cosine", "units": [link]}])
        return blocks

    def _seeds(self, number_: int) -> list[Block]:
        matches = [row for row in self._units.seed_matches.get(number_, []) if row["other"] in self._numbering]
        blocks: list[Block] = []
        for row in self._units.seeds.get(number_, []):
            said = f"Its direction is in {_found(row, 'by_direction', 'seeds')} other seeds"
            if row["seeds_by_function"]:
                said += f", its firing in {_found(row, 'by_function', 'seeds_by_function')}"
            blocks.append(["text", [f"{said}."] if row["seeds"] else []])
        links = [[self._link(row["other"], row), f"{row['by']}: {_match(row)}"] for row in matches]
        return [*blocks, ["units", links and {"title": "In other seeds", "about": "best match", "units": links}]]

    def _effects(self, number_: int) -> list[Block]:
        rows = {row["metric"]: row for row in self._units.effects.get(number_, [])}
        parts: list[Any] = []
        for metric, title in _EFFECTS.items():
            row = rows.get(metric)
            if row is not None and row["value"] is not None:
                parts += [f"{title}: ", {"strong": three_digits(row["value"])}, f"{_limits(row)}; "]
        return [["text", parts and [{"strong": "In the model. "}, *parts[:-1], parts[-1].removesuffix("; ") + "."]]]

    def _charts(self, unit: Row, windows: dict[str, list[Row]]) -> list[Block]:
        blocks: list[Block] = []
        if bins := self._activations(unit["feature"]):
            peaks = [{"value": number(row["activations"][row["peak"]])} for row in windows["top"]]
            datasets = {"rows": bins, "peaks": peaks, "deciles": self._deciles(unit["feature"])}
            about = "ticks: the strongest contexts; lines: deciles, with the share of firings that the rules predict"
            blocks.append(
                ["chart", {"title": "Activations", "about": about, "chart": "activations", "datasets": datasets}]
            )
        if positions := self._positions.get(unit["feature"]):
            context = self._units.tables.summary["store"]["context"]
            rows = [
                {"low": i * context / len(positions), "high": (i + 1) * context / len(positions), "n": n}
                for i, n in enumerate(positions)
            ]
            blocks.append(
                [
                    "chart",
                    {
                        "title": "Positions",
                        "about": "in the sequence",
                        "chart": "positions",
                        "datasets": {"rows": rows},
                    },
                ]
            )
        if curve := self._curves.get(unit["feature"]):
            rows = [
                {name: number(row[name]) for name in ("x", "y", "low", "high")} | {"arm": row["arm"]} for row in curve
            ]
            about = "lift of its tokens against the KL it costs"
            blocks.append(
                ["chart", {"title": "Steering", "about": about, "chart": "steering", "datasets": {"rows": rows}}]
            )
        return blocks

    def _activations(self, number_: int) -> list[Row]:
        bins, edges = (
            self._bins.get(number_, []),
            self._units.tables.summary["histogram_edges"][self._units.member["hook"]],
        )
        held = [i for i, n in enumerate(bins) if n]
        if not held:
            return []
        return [
            {"low": number(edges[i]), "high": number(edges[i + 1]), "n": bins[i]} for i in range(held[0], held[-1] + 1)
        ]

    def _deciles(self, number_: int) -> list[Row]:
        rows = self._units.interference.get(number_, [])
        lowest, recall = (rows[0]["lowest"], rows[0]["recall"]) if rows else ([], [])
        return [
            {"value": number(edge), "recall": number(share_)}
            for edge, share_ in zip(lowest or [], recall or [], strict=True)
            if edge is not None and edge > 0 and share_ is not None
        ]

    def _link(self, member: str, row: Row) -> list[int]:
        """[member, number] of the other unit of a row."""
        negative = self._widths[member] if row["other_sign"] < 0 else 0
        return [self._numbering[member], row["other_feature"] + negative]


def _by_unit(rows: Sequence[Row]) -> dict[int, list[Row]]:
    grouped: dict[int, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["feature"], []).append(row)
    return grouped


def _never(tokens: int) -> str:
    return f"Never fires on {tokens:,} tokens: its density is below {share(3 / tokens)} with 95 % confidence."


def _moments(unit: Row) -> str:
    deviation, skew, kurtosis = (
        "–" if unit[f"{m}_active"] is None else three_digits(unit[f"{m}_active"]) for m in ("std", "skew", "kurtosis")
    )
    return (
        f"Over the tokens on which it fires: standard deviation {deviation}, skew {skew}, excess kurtosis {kurtosis}; "
        f"{unit['distinct_tokens']:,} distinct tokens."
    )


def _judged(row: Row) -> str:
    value = "undefined" if row["value"] is None else two_digits(row["value"])
    certified = "" if row["certified"] else ", uncertified"
    asked = f"{row['protocol'].capitalize()}, {row['metric'].replace('_', ' ')}"
    return f"{asked}: {value}{_limits(row)} ({row['judge']}{certified}). "


def _limits(row: Row) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    return f" [{three_digits(row['low'])}, {three_digits(row['high'])}]"


def _match(row: Row) -> str:
    value, name = (row["cosine"], "cosine") if row["by"] == "direction" else (row["correlation"], "r")
    return name if value is None else f"{name} {two_digits(value)}"


def _found(row: Row, by: str, seeds: str) -> str:
    chance = row[f"{by}_chance"]
    return f"{row[by]} of {row[seeds]} ({'unknown' if chance is None else three_digits(chance)} by chance)"
