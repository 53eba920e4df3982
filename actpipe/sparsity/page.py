"""Tables → page, in the frame of every report (actpipe/report/shell.py). It reads the folder and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actpipe.report.payload import number
from actpipe.report.shell import Page

from .charts import ARMS, specifications
from .config import TRAINED

HERE = Path(__file__).parent
SHOWN_KT = 20  # units of the table of KT-scores; kt.parquet has all
STACKS = {"blocks": "Blocks", "encoder_blocks": "Encoder", "decoder_blocks": "Decoder"}
FIRINGS = {"nonzero": "is not exactly 0", "above": "is above {eps:g} · the token’s root mean square"}

Row = dict[str, Any]


def write_page(folder: Path) -> Path:
    """Write `folder/index.html` with its `data/` and `assets/` from sparsity.json and the tables beside it."""
    summary = json.loads((folder / "sparsity.json").read_text(encoding="utf-8"))
    layers = pq.read_table(folder / "layers.parquet").to_pylist()
    positions = pq.read_table(folder / "positions.parquet").to_pylist()
    page = Page(
        template="sparsity.html",
        folder=HERE,
        scripts=(HERE / "sparsity.js",),
        values={
            "summary": summary,
            "stacks": _stacks(summary, layers),
            "columns": _columns(summary),
            "firings": _firings(summary),
            "kt": _kt(folder) if summary["kt"] else [],
            "untrained": "untrained" in summary["arms"],
            "show": _show,
            "tokens": sum(task["tokens"] for task in summary["tasks"]),
            "documents": sum(task["documents"] for task in summary["tasks"]),
            "tables": ("layers", "units", "positions", *(["kt"] if summary["kt"] else [])),
        },
    )
    return page.write(folder, [("sparsity", _data(summary, layers, positions))])


def _data(summary: Row, layers: list[Row], positions: list[Row]) -> Row:
    names = [measure["name"] for measure in summary["measures"]]
    return {
        "measures": summary["measures"],
        "shown": _default_measure(summary),
        "hooks": [
            {"hook": h["hook"], "layer": h["layer"], "stack": h["stack"], "units": h["units"]} for h in summary["hooks"]
        ],
        "stacks": list(dict.fromkeys(hook["stack"] for hook in summary["hooks"])),
        "arms": [arm for arm in ARMS if arm in summary["arms"]],
        "tasks": [task["name"] for task in summary["tasks"]],
        "overall": summary["overall"],
        "edges": summary["rate_edges"],
        "specifications": specifications(),
        "layers": [
            {key: row[key] for key in ("arm", "task", "hook", "units", "never_active", "rate_histogram")}
            | _estimates(row, names)
            for row in layers
        ],
        "positions": [
            {key: row[key] for key in ("arm", "hook", "first", "last", "tokens")} | _estimates(row, names)
            for row in positions
            if row["task"] == summary["overall"]
        ],
    }


def _estimates(row: Row, names: list[str]) -> Row:
    """{measure: [mean, low, high]}."""
    return {name: [number(row[name]), number(row[f"{name}_low"]), number(row[f"{name}_high"])] for name in names}


def _default_measure(summary: Row) -> str:
    """Exact zeros where there are some by design, else what works for smooth units."""
    return "nonzero" if any(hook["firing"] == "nonzero" for hook in summary["hooks"]) else "l0_eff_95"


def _columns(summary: Row) -> list[Row]:
    """Measures of the table of layers: the thresholds other than the largest are on the charts alone."""
    left_out = {f"above_{eps:g}" for eps in summary["eps"][:-1]} | {"l0_eff_99", "top_1pct"}
    return [measure for measure in summary["measures"] if measure["name"] not in left_out]


def _stacks(summary: Row, layers: list[Row]) -> list[Row]:
    """Layers of each stack, every row with that of its twin at initialisation."""
    overall = [row for row in layers if row["task"] == summary["overall"]]
    twins = {row["hook"]: row for row in overall if row["arm"] != TRAINED}
    stacks: dict[str, list[Row]] = {}
    for row in overall:
        if row["arm"] == TRAINED:
            stacks.setdefault(row["stack"], []).append({"trained": row, "untrained": twins.get(row["hook"])})
    return [{"stack": stack, "title": STACKS.get(stack, stack), "rows": rows} for stack, rows in stacks.items()]


def _firings(summary: Row) -> list[str]:
    kinds = dict.fromkeys(hook["firing"] for hook in summary["hooks"])
    return [FIRINGS[kind].format(eps=summary["eps"][-1]) for kind in kinds]


def _kt(folder: Path) -> list[Row]:
    """The units of the model with the least p, those of more sentences first among equals."""
    table = pq.read_table(folder / "kt.parquet", filters=[("arm", "=", TRAINED)])
    table = table.filter(table["p"].is_valid())
    order = [("p", "ascending"), ("sentences", "descending")]
    rows: list[Row] = table.sort_by(order).slice(0, SHOWN_KT).to_pylist()
    return rows


def _show(value: float | None, unit: str = "share", *, digits: int = 1) -> str:
    if value is None:
        return "–"
    if unit == "index":
        return f"{value:.2f}"
    if unit == "units":
        return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    percent = 100 * value
    return f"{percent:.{digits}f} %" if percent >= 0.1 or percent == 0 else f"{percent:.2g} %"
