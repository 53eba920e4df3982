"""Tables → page: the shell (jinja2), the data (one folder of scripts a dictionary), the libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .charts import specifications
from .distributions import TRAINED, edges, occupied, shares
from .naming import Names, name_members
from .payload import SHARD_UNITS, UNIT_SCORES, Said, Vocabulary, member_table, number, panel
from .shell import CHARTS, TABLE, Datum, Page
from .tables import ReportTables, Row

SOURCE = Path(__file__).parent
SCRIPTS = ("tokens.js", "table.js", "panel.js", "page.js")
DISTRIBUTED = ("density", "token_r2", "token_entropy")
CONTROLS = ("random_directions", "shuffled_tokens")

# What the page says of each dictionary beside its names; columns of members.parquet.
MEMBER_NUMBERS = (
    *("width", "units", "l1", "k", "seed", "l0", "fvu", "dead", "delta_ce", "loss_recovered", "analysed_l0"),
    *("alive_units", "dead_units", "dense_units", "token_units"),
)


# Metric → what heads its column in the table of means.
HEADLINE = {
    "rules_f1_std": "Rules, F1",
    "concept_f1_std": "Concept, F1",
    "ms_c": "MonoSemanticity",
    "ms_beyond_words": "beyond words",
}


def write_page(out: Path) -> Path:
    tables = ReportTables.open(out)
    names = name_members(tables.members)
    return _page(tables, names).write(out, _data(tables, names))


def _data(tables: ReportTables, names: list[Names]) -> Iterator[Datum]:
    vocabulary = Vocabulary(tables.vocabulary)
    for index, member in enumerate(tables.members):
        yield from _of_member(tables, member, str(index), vocabulary)
    yield "vocabulary", vocabulary.script()
    yield "report", _report(tables, names)


def _of_member(tables: ReportTables, member: Row, key: str, vocabulary: Vocabulary) -> Iterator[Datum]:
    name = member["member"]
    units: list[Row] = tables.of_member("units", name).to_pylist()
    bins = {row["feature"]: row["bins"] for row in tables.of_member("histograms", name).to_pylist()}
    examples = _examples(tables, name)
    best = {feature: rows[0] for feature, rows in examples.items()}
    said = _said(tables, name)
    table = member_table(units, best, vocabulary, said) | {"charts": _distributions(tables, name, units)}
    yield f"{key}/table", table
    for shard, start in enumerate(range(0, len(units), SHARD_UNITS)):
        yield (
            f"{key}/{shard}",
            {
                str(unit["feature"]): panel(
                    unit, bins.get(unit["feature"], []), examples.get(unit["feature"], []), vocabulary, said
                )
                for unit in units[start : start + SHARD_UNITS]
            },
        )


def _said(tables: ReportTables, member: str) -> Said:
    """What the scores say of each unit, where they were computed."""
    texts, concepts = {}, {}
    if tables.has("explanations"):
        for row in tables.of_member("explanations", member).to_pylist():
            if row["source"] == "rules":
                texts[row["feature"]] = row["text"]
    if tables.has("concepts"):
        for row in tables.of_member("concepts", member).to_pylist():
            if row["rank"] == 0:
                concepts[row["feature"]] = row["concept"]
    return Said(texts, concepts, tables.unit_scores(member, tuple(UNIT_SCORES.values())))


def _headline(tables: ReportTables) -> list[dict[str, Any]]:
    """For each member and metric its mean, and how far above the hardest control; nothing where no score was asked."""
    rows = {(row["member"], row["metric"]): row for row in tables.means(tuple(HEADLINE))}
    present = [metric for metric in HEADLINE if any((m["member"], metric) in rows for m in tables.members)]
    cells = [[rows.get((member["member"], metric)) for metric in present] for member in tables.members]
    return [{"metrics": [HEADLINE[metric] for metric in present], "cells": cells}] if present else []


def _examples(tables: ReportTables, member: str) -> dict[int, list[Row]]:
    """Contexts of every feature, strongest first."""
    grouped: dict[int, list[Row]] = {}
    for row in tables.of_member("examples", member).to_pylist():
        grouped.setdefault(row["feature"], []).append(row)
    for rows in grouped.values():
        rows.sort(key=lambda row: int(row["rank"]))
    return grouped


def _distributions(tables: ReportTables, member: str, units: list[Row]) -> dict[str, Any]:
    controls = tables.of_member("controls", member, ["member", "control", *DISTRIBUTED]).to_pylist()
    rows, distinct = tables.summary["tokens"], tables.summary["distinct_tokens"]
    charts: dict[str, Any] = {}
    for score in DISTRIBUTED:
        bin_edges = edges(score, rows=rows, distinct_tokens=distinct)
        values = [unit[score] for unit in units if unit["alive"]]
        charts[score] = shares(values, bin_edges, TRAINED)
        for control in CONTROLS if score != "density" else ():  # controls take the density of the features
            values = [row[score] for row in controls if row["control"] == control]
            charts[score] += shares(values, bin_edges, control)
    charts["density"] = occupied(
        charts["density"]
    )  # its range is set by the least density that could be, often far away
    return charts


def _report(tables: ReportTables, names: list[Names]) -> dict[str, Any]:
    summary = tables.summary
    members = [
        {"member": row["member"], "hook": row["hook"], "label": name.label, "series": name.series, "tag": name.tag}
        | {column: number(row.get(column)) for column in MEMBER_NUMBERS}
        for row, name in zip(tables.members, names, strict=True)
    ]
    return {
        "members": members,
        "specifications": specifications(),
        "edges": {hook: [number(edge) for edge in values] for hook, values in summary["histogram_edges"].items()},
        "controls": summary.get("controls", {}).get("members", {}),
        "rows": summary["tokens"],
        "distinct": summary["distinct_tokens"],
        "shard": SHARD_UNITS,
    }


def _page(tables: ReportTables, names: list[Names]) -> Page:
    members = [{**row, "label": name.label} for row, name in zip(tables.members, names, strict=True)]
    return Page(
        template="page.html",
        scripts=tuple(SOURCE / name for name in SCRIPTS),
        libraries=CHARTS + TABLE,
        values={
            "summary": tables.summary,
            "members": members,
            "headline": _headline(tables),
            "tables": tables.names,
            "has_delta_ce": any(row["delta_ce"] is not None for row in members),
            "has_loss_recovered": any(row["loss_recovered"] is not None for row in members),
        },
    )
