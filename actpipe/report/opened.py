"""A report opened from Python: its tables as Arrow and pandas, its units as objects that show themselves.

report = actpipe.open_report("actpipe-out/report")
report.units().sort_values("rules_f1_std")  # pandas, one row a unit
report.unit(report.members[0], 17)  # its scores, its explanation, the texts on which it fires
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actpipe.errors import Missing

from .table_folder import TableFolder
from .tables import ReportTables, Row
from .unit import Unit, Window

if TYPE_CHECKING:
    import pandas as pd

UNIT = ["member", "feature", "sign"]  # what names a unit in every table
MEAN = ["member", "metric", "mean", "low", "high", "n", "control", "delta", "delta_low", "delta_high", "verdict"]


class Report(TableFolder):
    """What `actpipe analyze` left."""

    @classmethod
    def open(cls, folder: Path) -> Report:
        return cls(folder, ReportTables.open(folder).summary)

    def __repr__(self) -> str:
        counts, hooks = self.summary["counts"], ", ".join(self.summary["hooks"])
        return (
            f"<Report {self.folder}: {counts['units']:,} units of {counts['members']} members at {hooks}, on "
            f"{self.summary['tokens']:,} tokens>"
        )

    @cached_property
    def members(self) -> list[str]:
        """What was analysed: dictionaries, baselines, the coordinates of a hook."""
        names: list[str] = self.table("members", ["member"])["member"].to_pylist()
        return names

    @cached_property
    def vocabulary(self) -> list[str]:
        """Token id → text. Data: it may hold any character."""
        return ReportTables.open(self.folder).vocabulary

    def units(self, member: str | None = None) -> pd.DataFrame:
        """One row a unit, under (member, feature, sign): activity, a column a score, the rules in words."""
        where = {} if member is None else {"member": self._known(member)}
        units = self.frame("units", where=where).set_index(UNIT)
        for name in ("top_tokens", "top_logit_tokens", "bottom_logit_tokens"):
            units[name] = [None if ids is None else [self.vocabulary[token] for token in ids] for ids in units[name]]
        if "scores" in self.names:
            units = units.join(self._scores(where))
        if "explanations" in self.names:
            said = self.frame("explanations", [*UNIT, "text"], {"source": "rules", **where})
            units["rules"] = said.set_index(UNIT)["text"]
        return units

    def means(self, metric: str | None = None) -> pd.DataFrame:
        """Of each member, over all units that fire: mean, interval, hardest control, verdict."""
        chosen = {} if metric is None else {"metric": metric}
        return self.frame("means", MEAN, {"level": "member", "stratum": "all", "weighting": "units", **chosen})

    def unit(self, member: str, feature: int, sign: int = 1) -> Unit:
        """All that is known of one unit; `sign` −1 is the negative half of a feature with two."""
        which = {"member": self._known(member), "feature": feature, "sign": sign}
        rows = self._rows("units", which)
        if not rows:
            raise Missing(f"{member} has no unit {feature} of sign {sign:+d} in {self.folder}.")
        return Unit(
            member=member,
            feature=feature,
            sign=sign,
            activity=rows[0],
            scores={row["metric"]: row["value"] for row in self._rows("scores", which) if row["control"] is None},
            explanations={row["source"]: row["text"] for row in self._rows("explanations", which)},
            windows=[self._window(row) for row in self._rows("examples", which)],
        )

    def _known(self, member: str) -> str:
        if member not in self.members:
            raise Missing(f"The report has no member {member!r}; it has {', '.join(self.members)}.")
        return member

    def _rows(self, table: str, which: dict[str, Any]) -> list[Row]:
        """None of a table that this analysis was not asked for."""
        found: list[Row] = self.table(table, where=which).to_pylist() if table in self.names else []
        return found

    def _scores(self, where: dict[str, str]) -> pd.DataFrame:
        """A column a metric, of the units themselves and not of their controls."""
        scores = self.frame("scores", where=where)
        return scores[scores["control"].isna()].pivot(index=UNIT, columns="metric", values="value")

    def _window(self, row: Row) -> Window:
        texts = tuple(self.vocabulary[token] for token in row["tokens"])
        return Window(texts, tuple(row["activations"]), row["peak"], row["document"], row["sequence"], row["position"])
