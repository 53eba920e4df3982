"""Windows of text that stand for each unit, each with the number of windows it stands for: what judges and readers see.

The frame is every 32-token tile of the documents of SCORE. Strata of a unit:

    decile_0 … decile_9   tiles in which it fires, by their peak; at most one a document, drawn among its own
    uniform               tiles in which it is silent, from one sample of the text that all units share
    near_miss             windows that fire a neighbour and not the unit, at most one a document (sampling.near_misses)
    top                   the largest peaks, one a document: no sample of anything, and so without a weight

Deciles and `uniform` are the frame without overlap: Σ ω y over them estimates Σ y over all tiles (sampling.estimates).
Nothing here measures quality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import pyarrow as pa

from actpipe.analysis.sampling.fired import drawn_by
from actpipe.analysis.sampling.frame import SKIP_FIRST, uniform
from actpipe.analysis.sampling.gathering import Sampling
from actpipe.analysis.sampling.looking import Looking, Question
from actpipe.analysis.sampling.near_misses import candidates, near_misses, neighbours
from actpipe.analysis.sampling.reservoir import PER_BIN
from actpipe.analysis.sampling.silent import silent
from actpipe.analysis.sampling.strata import draw
from actpipe.analysis.sampling.table import SCHEMA, near, own, quiet, sample_table
from actpipe.errors import Misuse
from actpipe.store.hashing import salt

from .score import Accumulator, Metric, Score, Scored, Subject

_NEAR, _LISTED = 0x6E656172, 0x6C697374  # "near", "list"


@dataclass(frozen=True)
class Samples(Score):
    """How many windows are listed of each unit; of the shared sample only the first of those that are silent."""

    per_decile: int = 5
    top: int = 20
    shared: int = 2000
    uniform: int = 50
    near_miss: int = 25
    skip_first: int = SKIP_FIRST
    units: int = 8192  # whose windows are listed at most: of more, as many drawn at random

    name: ClassVar[str] = "samples"
    text: ClassVar[str] = "windows of text drawn with known probabilities, for judges and readers"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("sample_windows", "32-token windows of the score split in which the unit fires", "windows"),
        Metric("sample_documents", "documents of the score split in which the unit fires", "documents"),
    )
    tables: ClassVar[Mapping[str, pa.Schema]] = {"samples": SCHEMA}

    def __post_init__(self) -> None:
        if not 1 <= self.per_decile <= PER_BIN:
            raise Misuse(f"{self.per_decile} windows a decile cannot be drawn: choose between 1 and {PER_BIN}.")

    def gather(self, subject: Subject) -> Sampling:
        return Sampling(subject.n, subject.corpus, seed=subject.seed, skip_first=self.skip_first, top=self.top)

    def check(self, subject: Subject, gathered: Accumulator) -> Looking:
        sampling = cast(Sampling, gathered).closed()
        drawn = draw(sampling.reservoir, self.per_decile)
        # A control may number only some of its units: which directions are theirs is not known here.
        directions = subject.units.directions if subject.units.n == subject.n else None
        number = np.arange(subject.n)
        listed = np.zeros(subject.n, dtype=bool)
        listed[np.argsort(drawn_by(number, number, salt(_LISTED, subject.seed)))[: self.units]] = True
        near = neighbours(np.flatnonzero(listed & (sampling.windows > 0)), directions, sampling.together.sample().codes)
        return Looking(
            Question(
                context=subject.corpus.store.context,
                skip_first=self.skip_first,
                listed=listed,
                drawn=drawn,
                top=sampling.top.peaks(),
                suspects=candidates(near, drawn, subject.n, salt(_NEAR, subject.seed)),
                shared=uniform(subject.corpus, self.shared, self.skip_first),
            )
        )

    def finish(
        self, subject: Subject, gathered: Accumulator, checked: Accumulator | None, found: Mapping[str, Scored]
    ) -> Scored:
        sampling, looking = cast(Sampling, gathered).closed(), cast(Looking, checked)
        asked, alive = looking.question, np.flatnonzero(looking.question.listed & (sampling.windows > 0))
        mine = own(looking)
        fires = np.zeros(len(asked.suspects.unit), dtype=bool)
        fires[looking.all("fires")] = True
        word = salt(_NEAR, subject.seed + 1)
        misses = near_misses(asked.suspects, fires, asked.drawn, self.near_miss, subject.n, word)
        quiets = silent(alive, sampling.windows, asked.shared, looking.all("shared"), self.uniform)
        parts = [mine.windows.take(mine.windows.activations >= 0), quiet(quiets, looking), near(misses, mine.windows)]
        table = sample_table(parts, mine.activations, subject.corpus.store)
        columns = {
            "sample_windows": sampling.windows.astype(np.float64),
            "sample_documents": sampling.documents.astype(np.float64),
        }
        return Scored(columns, {"samples": table})
