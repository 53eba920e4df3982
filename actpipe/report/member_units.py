"""The units of one dictionary: activity, scores, words about them, judgements, effects, matches in other seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .density_matched import above_controls
from .rules_interval import rules_interval
from .tables import ReportTables, Row

Floats = NDArray[np.float64]

RULES = "rules_f1_std"
# What the table and the panels read of scores.parquet.
METRICS = (
    *(RULES, "rules_tpr", "rules_fpr", "rules_coverage", "concept_f1_std", "concept_selectivity"),
    *("ms_c", "ms_beyond_words", "vendi", "vendi_ratio", "bigram_r2", "context_share", "sample_documents"),
    *("position_share", "burstiness", "nearest_cosine", "cofiring_phi"),
)
SCORE_SPLIT = 0.4  # share of the documents on which scores are measured


@dataclass(frozen=True)
class MemberUnits:
    tables: ReportTables
    member: Row
    index: int  # of the member in the report

    @property
    def name(self) -> str:
        return str(self.member["member"])

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """Of units.parquet, `feature` numbered so that negative halves go on from the width."""
        columns: dict[str, list[Any]] = self.tables.of_member("units", self.name).to_pydict()
        return columns

    @property
    def n(self) -> int:
        return len(self.columns["feature"])

    @cached_property
    def places(self) -> dict[int, int]:
        """Number of a unit → its place in the columns."""
        return {number: place for place, number in enumerate(self.columns["feature"])}

    def floats(self, column: str) -> Floats:
        """[n] of units.parquet, NaN where undefined."""
        return np.array([np.nan if value is None else value for value in self.columns[column]], dtype=np.float64)

    def rows(self, table: str, columns: list[str] | None = None, **equal: Any) -> pa.Table:
        """Of a table that may be absent; then there are none."""
        if not self.tables.has(table):
            return pa.table({})
        return self.tables.of_member(table, self.name, columns, **equal)

    def spread(self, rows: Iterable[Row], column: str) -> Floats:
        """[n]: the value of `column` at the unit of each row."""
        values = np.full(self.n, np.nan)
        for row in rows:
            place, value = self.places.get(row["feature"]), row[column]
            if place is not None and value is not None:
                values[place] = value
        return values

    @cached_property
    def scores(self) -> dict[str, Floats]:
        """Metric → [n]."""
        table = self.rows("scores", ["feature", "sign", "control", "metric", "value"], metric=METRICS)
        found = {metric: np.full(self.n, np.nan) for metric in METRICS}
        if not table.num_rows:
            return found
        own = table.filter(table["control"].is_null())
        for metric in METRICS:
            part = own.filter(pc.equal(own["metric"], metric))
            places = [self.places.get(number, -1) for number in part["feature"].to_pylist()]
            known = np.array(places, dtype=np.int64) >= 0
            found[metric][np.array(places, dtype=np.int64)[known]] = part["value"].to_numpy()[known]
        return found

    @cached_property
    def interval(self) -> tuple[Floats, Floats]:
        """Of the rules' F1, [n] each."""
        return rules_interval(
            tpr=self.scores["rules_tpr"],
            fpr=self.scores["rules_fpr"],
            hits=self.scores["sample_documents"],
            others=np.full(self.n, SCORE_SPLIT * self.tables.summary["tokens"]),
        )

    @cached_property
    def above(self) -> Floats:
        """[n]: how far the rules' F1 is above that of the hardest control at the density of the unit."""
        return above_controls(self.scores[RULES], self.floats("density"), self.controls(RULES))

    def controls(self, metric: str) -> dict[str, tuple[Floats, Floats]]:
        """Control → densities and scores of its units."""
        table = self.rows("scores", ["feature", "sign", "control", "metric", "value"], metric=(metric,))
        found: dict[str, tuple[list[float], list[float]]] = {}
        if table.num_rows:
            table = table.filter(pc.and_(table["control"].is_valid(), table["value"].is_valid()))
        for row in table.to_pylist():
            density = self._control_density.get((row["control"], row["feature"]))
            if density is None and row["feature"] in self.places:  # a control made of the unit itself has its density
                density = self.columns["density"][self.places[row["feature"]]]
            if density is None:
                continue
            densities, values = found.setdefault(row["control"], ([], []))
            densities.append(density)
            values.append(row["value"])
        return {control: (np.array(d), np.array(v)) for control, (d, v) in found.items()}

    def first_controls(self, score: str) -> dict[str, Floats]:
        """Control → defined scores of its units, of controls.parquet."""
        found: dict[str, list[float]] = {}
        for row in self.tables.of_member("controls", self.name, ["member", "control", score]).to_pylist():
            if row[score] is not None:
                found.setdefault(row["control"], []).append(row[score])
        return {control: np.array(values) for control, values in found.items()}

    @cached_property
    def _control_density(self) -> dict[tuple[str, int], float]:
        rows = self.tables.of_member("controls", self.name, ["member", "control", "unit", "density"]).to_pylist()
        return {(row["control"], row["unit"]): row["density"] for row in rows}

    @cached_property
    def explanations(self) -> dict[int, list[Row]]:
        """Number of a unit → what is said of it, rules first."""
        return self._grouped("explanations", lambda row: (row["source"] != "rules", row["source"]))

    @cached_property
    def concepts(self) -> dict[int, list[Row]]:
        return self._grouped("concepts", lambda row: row["rank"])

    @cached_property
    def judgements(self) -> dict[int, list[Row]]:
        return self._grouped("judgements", lambda row: (row["judge"], row["protocol"], row["metric"]))

    @cached_property
    def effects(self) -> dict[int, list[Row]]:
        return self._grouped("effects", lambda row: row["metric"])

    @cached_property
    def interference(self) -> dict[int, list[Row]]:
        return self._grouped("interference", lambda row: row["feature"])

    @cached_property
    def seeds(self) -> dict[int, list[Row]]:
        return self._grouped("seeds", lambda row: row["feature"])

    @cached_property
    def seed_matches(self) -> dict[int, list[Row]]:
        return self._grouped("seed_matches", lambda row: (row["by"], row["other"]))

    def forget(self) -> None:
        """What was read is not needed again, and there may be many dictionaries."""
        for name in [name for name in vars(self) if name not in ("tables", "member", "index")]:
            del vars(self)[name]

    def _grouped(self, table: str, order: Any) -> dict[int, list[Row]]:
        grouped: dict[int, list[Row]] = {}
        for row in self.rows(table).to_pylist():
            grouped.setdefault(row["feature"], []).append(row)
        for rows in grouped.values():
            rows.sort(key=order)
        return grouped


def open_members(tables: ReportTables) -> list[MemberUnits]:
    return [MemberUnits(tables, row, index) for index, row in enumerate(tables.members)]
