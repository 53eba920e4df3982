"""The contract of a score: what it gathers in one pass over the firings, and what it makes of that.

    gather   an accumulator that sees every block of rows once, with the split of each row
    check    another one, for a score that fits something first and measures it then: when `gathered` is complete it
             sees every block a second time, from saved codes, which are those on rows of SCORE. None where the score
             needs no second look.
    finish   a number a unit for each metric, NaN where it is undefined

A score is a frozen dataclass that is its own configuration. Accumulators are commutative monoids: parts of the rows in
any order on any number of machines, merged, give what one pass gives. Blocks hold whole sequences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.firings import Firings
from actpipe.analysis.units import UnitSet

State = dict[str, NDArray[Any]]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    name: str  # column of scores.parquet's `metric`
    text: str  # a sentence for whoever reads the report
    unit: str = ""  # bits, nats, share …
    better: Better | None = None  # None: an axis, not a mark of quality


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Units and the text they are scored on. `control`: what was done to them, None for the units themselves."""

    units: UnitSet
    n: int  # units that firings number: all of the set or those drawn
    corpus: Corpus
    seed: int
    control: str | None = None


class Accumulator(Protocol):
    def update(self, batch: Firings) -> None: ...
    def merge(self, other: Self) -> None: ...
    def state(self) -> State:
        """Everything as arrays: saved between parts of a pass, so that a killed analysis goes on."""
        ...

    def restore(self, state: State) -> None:
        """Of an empty accumulator of the same score and subject."""
        ...


@dataclass(frozen=True)
class Scored:
    columns: dict[str, NDArray[np.float64]]  # metric → [n], NaN where undefined
    tables: dict[str, pa.Table] = field(default_factory=dict)  # rows of tables of its own, `unit` numbered 0 … n−1
    notes: tuple[str, ...] = ()  # sentences for the report


class Score(ABC):
    name: ClassVar[str]
    text: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    tables: ClassVar[Mapping[str, pa.Schema]] = {}  # that `finish` gives rows of

    @abstractmethod
    def gather(self, subject: Subject) -> Accumulator: ...

    def check(self, subject: Subject, gathered: Accumulator) -> Accumulator | None:
        return None

    @abstractmethod
    def finish(
        self,
        subject: Subject,
        gathered: Accumulator,
        checked: Accumulator | None,
        found: Mapping[str, Scored],
    ) -> Scored:
        """`found`: what the scores before this one in the registry said of the same subject."""
