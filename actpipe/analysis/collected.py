"""What is kept of every member once its own tables are written: for the tables about all of them."""

from __future__ import annotations

from typing import Any

from .analysed import Analysed
from .measuring import measured
from .members import member_row
from .model_tables import Subject
from .statistics import Measured
from .summary import Tally


class Collected:
    def __init__(self, model: str | None) -> None:
        self.model = model
        self.tally = Tally()
        self.members: list[dict[str, Any]] = []  # rows of the table of members
        self.measured: list[Measured] = []
        self.in_model: list[Subject] = []

    def add(self, analysed: Analysed) -> None:
        self.tally.add(analysed)
        self.members.append(member_row(analysed))
        self.measured += measured(analysed, self.model)
        self.in_model.append(Subject(analysed.member, analysed.found.units, analysed.found.density > 0))
