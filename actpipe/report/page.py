"""Tables → the page of a report: what it shows, in the order of page.html, and the data that it loads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from . import chart_data, charts
from .columns import UnitTable
from .member_units import MemberUnits, open_members
from .naming import Names, name_members
from .needed import NEEDED
from .panel_processes import PanelProcesses, processes_for
from .panel_shards import SHARD_UNITS, Keep, all_kept, shards
from .payload import Vocabulary
from .shell import CHARTS, SOURCE, TABLE, TOKENS, Datum, Page
from .strips import Strips
from .tables import ReportTables, Row
from .verdicts import DIGITS, HEADLINE, lints, verdicts

__all__ = ["HEADLINE", "ReportPage", "write_page"]

SCRIPTS = (TOKENS, SOURCE / "table.js", SOURCE / "panel.js", SOURCE / "page.js")

# Collects in the vocabulary what tokens the panels show, and yields the panels in shards.
MakePanels = Callable[[Vocabulary], Iterator[Datum]]
Advance = Callable[[float], None]  # is told how many more units have their panels


def write_page(out: Path, advance: Advance = lambda _units: None) -> Path:
    """Write the page of the tables in `out` beside them, with every panel."""
    page = ReportPage.open(out)
    if processes_for(page.n_shards) == 1:
        return page.page().write(out, page.data(page.panels(), advance))
    with PanelProcesses(out, page.n_shards) as processes:
        return page.page().write(out, page.data(processes, advance))


@dataclass(frozen=True)
class ReportPage:
    tables: ReportTables

    @classmethod
    def open(cls, folder: Path) -> ReportPage:
        tables = ReportTables.open(folder)
        tables.require(NEEDED)
        return cls(tables)

    @cached_property
    def names(self) -> list[Names]:
        return name_members(self.tables.members)

    @cached_property
    def members(self) -> list[MemberUnits]:
        return open_members(self.tables)

    def page(self, details: str | None = None) -> Page:
        """`details`: a sentence on which units have a panel, where not all do."""
        rows = [{**row, "label": name.label} for row, name in zip(self.tables.members, self.names, strict=True)]
        labels = {row["member"]: row["label"] for row in rows}
        means = self.tables.means(tuple(HEADLINE))
        return Page(
            template="page.html",
            scripts=SCRIPTS,
            libraries=CHARTS + TABLE,
            values={
                "summary": self.tables.summary,
                "members": rows,
                "sparsity": self._sparsity,
                "headline": _headline(self.tables.members, means),
                "verdicts": verdicts(means, labels),
                "lints": lints(self.tables.members, means, labels),
                "judges": _judges(self.tables.folder),
                "pairs": self.tables.rows("seed_pairs"),
                "health": self.tables.summary.get("health", {}),
                "labels": labels,
                "tables": self.tables.names,
                "details": details,
                "by_density": {
                    metric: HEADLINE.get(metric, "Vendi, as a share of that of random texts")
                    for metric in chart_data.BY_DENSITY
                },
            },
        )

    def data(self, panels: MakePanels, advance: Advance = lambda _units: None) -> Iterator[Datum]:
        """Panels in shards, then what the page loads at once."""
        vocabulary, table, charted = Vocabulary(self.tables.vocabulary), UnitTable(), Charted()
        making = panels(vocabulary)  # if by other processes, from here on
        strips = []
        for units in self.members:
            table.add(units)
            charted.add(units, self.names[units.index].label)
            strips.append(Strips(units).shared())
            units.forget()
        for shard in making:
            yield shard
            advance(SHARD_UNITS)
        yield "vocabulary", vocabulary.script()
        yield "units", table.values
        yield "report", self._report(table, charted) | {"strips": strips}

    def panels(self, keep: Keep = all_kept) -> MakePanels:
        """Of the units that are kept, made by this process."""
        return lambda vocabulary: shards(self.members, vocabulary, range(self.n_shards), keep)

    @property
    def n_shards(self) -> int:
        return -(-sum(int(row["units"]) for row in self.tables.members) // SHARD_UNITS)

    def _report(self, table: UnitTable, charted: Charted) -> dict[str, Any]:
        members = [
            {"member": row["member"], "hook": row["hook"], "label": name.label}
            for row, name in zip(self.tables.members, self.names, strict=True)
        ]
        return {
            "members": members,
            "columns": table.described(),
            "charts": charted.charts(self._pareto(), self._sparsity),
            "shard": SHARD_UNITS,
            "start": _middle(self._sparse),
        }

    def _pareto(self) -> list[Row]:
        scores = {row["member"]: row["mean"] for row in self.tables.means(("rules_f1_std",))}
        return chart_data.pareto_rows(self.tables.members, self.names, self._sparse, scores)

    @cached_property
    def _effective(self) -> dict[str, float]:
        """Member → its L0_eff, where effects were measured for all."""
        found = {row["member"]: row["value"] for row in self.tables.rows("fidelity") if row["metric"] == "l0_eff_95"}
        return found if all(row["member"] in found for row in self.tables.members) else {}

    @property
    def _sparse(self) -> list[float | None]:
        """By L0 on held-out text, of baselines on that analysed, where L0_eff is not known."""
        members = self.tables.members
        return [self._effective.get(m["member"], m["analysed_l0"] if m["l0"] is None else m["l0"]) for m in members]

    @property
    def _sparsity(self) -> str:
        return "L0 at 95 % of the contributions" if self._effective else "L0, features firing a token"


class Charted:
    """The data of the charts, gathered dictionary by dictionary."""

    def __init__(self) -> None:
        self._of: dict[str, list[Row]] = {
            name: [] for name in ("token_r2", "token_entropy", "density", "by_density", "map", "seeds")
        }

    def add(self, units: MemberUnits, label: str) -> None:
        for score in (*chart_data.DISTRIBUTED, "density"):
            self._of[score] += chart_data.distributions(units, score)
        self._of["by_density"] += chart_data.by_density(units)
        self._of["map"] += chart_data.unit_map(units)
        self._of["seeds"] += chart_data.found_in_seeds(units, label)

    def charts(self, pareto: list[Row], sparsity: str) -> dict[str, dict[str, Any]]:
        """Name → {spec, datasets}: what `drawAll` of charts.js takes; charts of a panel bring their own data."""
        controls = chart_data.control_names(self._of["token_r2"])
        groups = [charts.OWN, *chart_data.control_names(self._of["by_density"])]
        metric = next((row["metric"] for row in self._of["by_density"]), "")
        drawn = {
            "fvu": (charts.pareto("fvu", "FVU, held out (lower is better)", sparsity), pareto),
            "delta_ce": (charts.pareto("delta_ce", "ΔCE in nats (lower is better)", sparsity), pareto),
            "token_r2": (charts.distribution("token R²", controls), self._of["token_r2"]),
            "token_entropy": (charts.distribution("token entropy, bits", controls), self._of["token_entropy"]),
            "density": (
                charts.distribution("share of tokens on which a feature fires", [], log=True),
                self._of["density"],
            ),
            "token_units": (charts.by_density("token", metric, groups, chart_data.DENSITIES), self._of["by_density"]),
            "context_units": (
                charts.by_density("context", metric, groups, chart_data.DENSITIES),
                self._of["by_density"],
            ),
            "map": (charts.unit_map(), self._of["map"]),
            "seeds": (charts.stability(), self._of["seeds"]),
        }
        own = {"activations": charts.activations(), "positions": charts.positions(), "steering": charts.steering()}
        with_data = {name: {"spec": spec, "datasets": {"rows": rows}} for name, (spec, rows) in drawn.items()}
        return with_data | {name: {"spec": spec} for name, spec in own.items()}


def _headline(members: Sequence[Row], means: Sequence[Row]) -> list[dict[str, Any]]:
    """For each member and metric its mean, and how far above the hardest control; nothing where no score was asked."""
    rows = {(row["member"], row["metric"]): row for row in means}
    present = [metric for metric in HEADLINE if any((member["member"], metric) in rows for member in members)]
    found = [[rows.get((member["member"], metric)) for metric in present] for member in members]
    cells = [[row and {**row, "digits": DIGITS.get(row["metric"], 2)} for row in each] for each in found]
    return [{"metrics": [HEADLINE[metric] for metric in present], "cells": cells}] if present else []


def _judges(report: Path) -> dict[str, Any]:
    """Name → its entry, of the judges that were asked."""
    path = report / "judges.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["judges"] if path.is_file() else {}
    return found


def _middle(sparsity: Sequence[float | None]) -> int:
    """The dictionary in the middle of the sweep by sparsity: the one that the page begins with."""
    order = sorted(range(len(sparsity)), key=lambda index: sparsity[index] or 0)
    return order[(len(order) - 1) // 2]
