"""A folder with Parquet tables and the JSON that says what they are of: a report, a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from actpipe.errors import Missing

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class TableFolder:
    """A folder that actpipe wrote; docs/reference says what its tables and their columns are."""

    folder: Path
    summary: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """The tables that are there."""
        return sorted(path.stem for path in (self.folder / "parquet").glob("*.parquet"))

    def table(self, name: str, columns: list[str] | None = None, where: Mapping[str, Any] | None = None) -> pa.Table:
        """A table as Arrow: all of it, some columns, or the rows with these values, `where={"metric": "ms_c"}`."""
        path, equal = self.folder / "parquet" / f"{name}.parquet", where or {}
        if not path.is_file():
            raise Missing(f"{self.folder} has no table {name!r}; it has {', '.join(self.names)}.")
        known = pq.read_schema(path).names
        if unknown := [column for column in (*equal, *(columns or ())) if column not in known]:
            raise Missing(f"The table {name} has no column {unknown[0]!r}; it has {', '.join(known)}.")
        filters = [(column, "=", value) for column, value in equal.items()]
        return pq.read_table(path, columns=columns, filters=filters or None)

    def frame(
        self, name: str, columns: list[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """The same as a pandas frame."""
        frame: pd.DataFrame = self.table(name, columns, where).to_pandas()
        return frame
