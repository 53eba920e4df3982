"""The tables of a report while it is made: one Parquet file each, one row group a member."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .analysed import Analysed
from .config import AnalyzeConfig
from .model_tables import SCHEMAS as EFFECTS
from .pipeline import PIPELINE
from .probing import PROBES
from .schemas import COLUMNS, schema
from .score_tables import schemas_of, scores_table, tables_of
from .scores import Metric, Score
from .stability import Stability
from .stability.tables import FOUND, MATCHES, PAIRS
from .statistics import DENSITY_POINTS, MEANS
from .unit_chance import CHANCE, chance_table

SEEDS = {"seed_pairs": PAIRS, "seed_matches": MATCHES, "seeds": FOUND}


def schemas(scores: Sequence[Score], config: AnalyzeConfig) -> dict[str, pa.Schema]:
    """Of every table that an analysis so configured writes."""
    always = (
        {name: schema(name) for name in COLUMNS}
        | {"means": MEANS, "density_points": DENSITY_POINTS, "chance": CHANCE, "pipeline": PIPELINE}
        | SEEDS
        | schemas_of(scores)
    )
    return always | (EFFECTS if config.effects else {}) | ({"probes": PROBES} if config.probe else {})


class TableWriters:
    def __init__(self, folder: Path, schemas: dict[str, pa.Schema]) -> None:
        self.folder, self.schemas = folder, schemas
        self.stack = ExitStack()
        self.writers: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> TableWriters:
        self.folder.mkdir(parents=True)
        for name, columns in self.schemas.items():
            writer = pq.ParquetWriter(self.folder / f"{name}.parquet", columns, compression="zstd")
            self.writers[name] = self.stack.enter_context(writer)
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()

    def write(self, analysed: Analysed, metrics: Sequence[Metric]) -> None:
        chance = chance_table(analysed, metrics)
        tables = {**analysed.tables, "scores": scores_table(analysed), "chance": chance, **tables_of(analysed)}
        for name, table in tables.items():
            self.write_table(name, table)

    def write_seeds(self, found: Stability) -> None:
        for name, table in zip(SEEDS, found, strict=True):
            self.write_table(name, table)

    def write_table(self, name: str, table: pa.Table) -> None:
        self.writers[name].write_table(table)
