"""A comparison opened from Python: its verdicts, and its tables as Arrow and pandas."""

from __future__ import annotations

import json
from pathlib import Path

from actpipe.errors import Damaged, Mismatch
from actpipe.report.table_folder import TableFolder

from .schemas import FORMAT, VERSION


class Comparison(TableFolder):
    """What `actpipe compare` left."""

    @classmethod
    def open(cls, folder: Path) -> Comparison:
        path = folder / "compare.json"
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Damaged(f"{path} is not readable JSON ({error}); run the same `actpipe compare` again.") from error
        if (summary.get("format"), summary.get("version")) != (FORMAT, VERSION):
            raise Mismatch(
                f"{path} says format {summary.get('format')!r} version {summary.get('version')!r}, and this actpipe "
                f"reads {FORMAT!r} version {VERSION}; run the same `actpipe compare` again."
            )
        return cls(folder, summary)

    def __repr__(self) -> str:
        return f"<Comparison {self.folder}: {', '.join(self.arms)}>"

    @property
    def arms(self) -> list[str]:
        return [arm["arm"] for arm in self.summary["arms"]]

    @property
    def verdicts(self) -> list[str]:
        """Those of the headline metrics over all units, as sentences."""
        verdicts: list[str] = self.summary["verdicts"]
        return verdicts
