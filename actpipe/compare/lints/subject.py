"""What a lint is asked of: an arm at all its layers, or two of them, with what is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from actpipe.compare.designs import models
from actpipe.compare.matching import Matched
from actpipe.compare.pairs import Sides
from actpipe.compare.stand import Row, Stand


class Subject(NamedTuple):
    stand: Stand  # at all layers
    matched: Matched

    @property
    def name(self) -> str:
        return self.matched.arm


class Pair(NamedTuple):
    first: Subject
    second: Subject
    sides: Sides
    rows: Sequence[Row]  # of pairs.parquet, of these two at all layers, not of their twins

    @property
    def one_model(self) -> bool:
        return models(self.first.stand.arm) == models(self.second.stand.arm)
