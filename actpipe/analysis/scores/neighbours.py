"""Score `neighbours`: the units nearest in direction, and those that fire together with a unit most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from actpipe.analysis.neighbours import KEEP, Nearest, nearest_directions
from actpipe.analysis.stability.code_sample import WORK, CodeSample
from actpipe.analysis.stability.cofiring import FEWEST, Cofiring, cofiring

from .score import Accumulator, Metric, Score, Scored, Subject

NEIGHBOURS = pa.schema(
    [
        ("unit", pa.int32()),
        ("kind", pa.string()),  # direction, cofiring
        ("rank", pa.int32()),
        ("other", pa.int32()),
        ("value", pa.float64()),  # cosine of the directions, or φ
        ("together", pa.int64()),  # of the sampled rows; null for directions, as are the next two
        ("jaccard", pa.float64()),
        ("pmi", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Neighbours(Score):
    keep: int = KEEP
    fewest: int = FEWEST
    work: int = WORK

    name: ClassVar[str] = "neighbours"
    text: ClassVar[str] = "which units are nearest in direction, and which fire together"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("nearest_cosine", "Largest cosine of the unit's direction with that of another unit."),
        Metric("cofiring_phi", "Largest correlation of firing with another unit, of those that fire together often."),
    )
    tables: ClassVar[Mapping[str, pa.Schema]] = {"neighbours": NEIGHBOURS}

    def gather(self, subject: Subject) -> CodeSample:
        return CodeSample(subject.n, seed=subject.seed, work=self.work)

    def finish(
        self, subject: Subject, gathered: Accumulator, checked: Accumulator | None, found: Mapping[str, Scored]
    ) -> Scored:
        assert isinstance(gathered, CodeSample)
        row, codes = gathered.sample()
        together = cofiring(codes, keep=self.keep, fewest=self.fewest)
        phi, cosine = np.full((2, subject.n), np.nan)
        first = together.rank == 0
        phi[together.unit[first]] = together.phi[first]
        parts = [_of_cofiring(together)]
        if subject.units.n == subject.n:  # a control may be of some units only, whose directions are theirs already
            near = nearest_directions(subject.units.directions, keep=self.keep)
            if near.cosine.shape[1]:
                cosine = near.cosine[:, 0].astype(np.float64)
            parts.insert(0, _of_directions(near))
        note = f"Co-firing is counted on {len(row):,} sampled rows; pairs with fewer than {self.fewest} are left out."
        columns = {"nearest_cosine": cosine, "cofiring_phi": phi}
        return Scored(columns, {"neighbours": pa.concat_tables(parts)}, (note,))


def _of_directions(near: Nearest) -> pa.Table:
    n, k = near.unit.shape
    return _table(
        "direction",
        unit=np.repeat(np.arange(n, dtype=np.int32), k),
        rank=np.tile(np.arange(k, dtype=np.int32), n),
        other=near.unit.reshape(-1),
        value=near.cosine.reshape(-1).astype(np.float64),
    )


def _of_cofiring(pairs: Cofiring) -> pa.Table:
    rest = {"together": pairs.together, "jaccard": pairs.jaccard, "pmi": pairs.pmi}
    return _table("cofiring", unit=pairs.unit, rank=pairs.rank, other=pairs.other, value=pairs.phi, **rest)


def _table(kind: str, **columns: Any) -> pa.Table:
    n = len(columns["unit"])
    given = {"kind": pa.array([kind] * n, pa.string()), **columns}
    arrays = [
        pa.array(given[field.name], field.type) if field.name in given else pa.nulls(n, field.type)
        for field in NEIGHBOURS
    ]
    return pa.table(arrays, schema=NEIGHBOURS)
