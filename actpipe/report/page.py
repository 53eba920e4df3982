"""Tables → page: the shell (jinja2), the data (one folder of scripts a dictionary), the libraries."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from actpipe.files import write_bytes

from .charts import specifications
from .distributions import TRAINED, edges, occupied, shares
from .naming import Names, name_members
from .payload import SHARD_UNITS, Vocabulary, member_table, number, panel, write_script
from .shell import copy_assets, render
from .tables import ReportTables, Row

SOURCE = Path(__file__).parent
SCRIPTS = ("tokens.js", "charts.js", "shell.js", "table.js", "panel.js", "page.js")
DISTRIBUTED = ("density", "token_r2", "token_entropy")
CONTROLS = ("random_directions", "shuffled_tokens")

# What the page says of each dictionary beside its names; columns of members.parquet.
MEMBER_NUMBERS = (
    *("width", "units", "l1", "k", "seed", "l0", "fvu", "dead", "delta_ce", "loss_recovered", "analysed_l0"),
    *("alive_units", "dead_units", "dense_units", "token_units"),
)


def write_page(out: Path) -> Path:
    tables = ReportTables.open(out)
    names = name_members(tables.members)
    vocabulary = Vocabulary(tables.vocabulary)
    page = out / "index.html"
    page.unlink(missing_ok=True)  # it is the mark of a whole report, so it goes first and comes last
    for folder in ("data", "assets"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for index, member in enumerate(tables.members):
        _write_member(tables, member, out / "data" / str(index), vocabulary)
    write_script(out / "data" / "vocabulary.js", "vocabulary", vocabulary.script())
    write_script(out / "data" / "report.js", "report", _report(tables, names))
    copy_assets(out / "assets", [SOURCE / name for name in SCRIPTS])
    write_bytes(page, _shell(tables, names).encode())
    return page


def _write_member(tables: ReportTables, member: Row, folder: Path, vocabulary: Vocabulary) -> None:
    name, key = member["member"], folder.name
    units: list[Row] = tables.of_member("units", name).to_pylist()
    bins = {row["feature"]: row["bins"] for row in tables.of_member("histograms", name).to_pylist()}
    examples = _examples(tables, name)
    best = {feature: rows[0] for feature, rows in examples.items()}
    table = member_table(units, best, vocabulary) | {"charts": _distributions(tables, name, units)}
    write_script(folder / "table.js", f"{key}/table", table)
    for shard, start in enumerate(range(0, len(units), SHARD_UNITS)):
        content = {
            str(unit["feature"]): panel(
                unit, bins.get(unit["feature"], []), examples.get(unit["feature"], []), vocabulary
            )
            for unit in units[start : start + SHARD_UNITS]
        }
        write_script(folder / f"{shard}.js", f"{key}/{shard}", content)


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


def _shell(tables: ReportTables, names: list[Names]) -> str:
    members = [{**row, "label": name.label} for row, name in zip(tables.members, names, strict=True)]
    return render(
        "page.html",
        scripts=SCRIPTS,
        summary=tables.summary,
        members=members,
        has_delta_ce=any(row["delta_ce"] is not None for row in members),
        has_loss_recovered=any(row["loss_recovered"] is not None for row in members),
    )
