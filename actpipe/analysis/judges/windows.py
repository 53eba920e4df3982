"""A unit's windows from the tables of a report, divided by document into what an explainer sees and what is scored.

The table `samples` holds windows of the score split alone, so the division is made here: a document, with all windows
of it, is shown to explainers if its hash falls below SHOWN. What remains of a stratum is an equally random sample of
it: ω grows by the windows that were drawn over those that are kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actpipe.store.hashing import salt

from .questions import Passage

SHOWN = 0.4  # of the documents
_DIVISION, _ORDER = "shown", "order"  # families of hashes


@dataclass(frozen=True)
class Window:
    stratum: str
    weight: float  # ω; NaN for `top`, which is no sample
    document: int
    row: int  # of its peak, in the store: names the window
    passage: Passage
    activations: NDArray[np.float32]  # [tokens]
    peak: int

    @property
    def largest(self) -> float:
        return float(self.activations.max(initial=0.0))

    @property
    def fires(self) -> bool:
        return self.largest > 0

    @property
    def is_positive(self) -> bool:
        """Of the strata that stand for all windows on which the unit fires."""
        return self.stratum.startswith("decile_") and self.fires

    @property
    def is_silent(self) -> bool:
        """Of the sample that stands for all windows on which it is silent."""
        return self.stratum == "uniform" and not self.fires

    @property
    def is_near(self) -> bool:
        return self.stratum == "near_miss" and not self.fires


@dataclass(frozen=True)
class Unit:
    member: str
    feature: int
    sign: int
    shown: tuple[Window, ...]
    scored: tuple[Window, ...]
    logit_tokens: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, int, int]:
        return self.member, self.feature, self.sign

    def seed(self, seed: int) -> int:
        """Another one for each unit, the same whichever units are judged beside it."""
        return int(salt(seed, self.feature, self.sign & 0xFF) >> np.uint64(33))

    def some(self, which: Callable[[Window], bool], at_most: int | None = None) -> list[Window]:
        """Scored windows, in an order that has nothing to do with them; reweighted where some are left out."""
        found = sorted((w for w in self.scored if which(w)), key=_random_order)
        return _kept(found, found[:at_most])


def divided(windows: Iterable[Window], seed: int) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    """(shown, scored)"""
    everything = list(windows)
    shown = [w for w in everything if _hash(w.document, _DIVISION, seed) < SHOWN]
    ours = {id(w) for w in shown}
    scored = [w for w in everything if id(w) not in ours]
    return tuple(shown), tuple(_kept(everything, scored))


def window(row: dict[str, Any], texts: Sequence[str]) -> Window:
    """Of a row of `samples`; `texts`: of every token id."""
    tokens = tuple(row["tokens"])
    return Window(
        stratum=row["stratum"],
        weight=np.nan if row["weight"] is None else float(row["weight"]),
        document=row["document"],
        row=row["row"],
        passage=Passage(tokens, tuple(texts[token] for token in tokens)),
        activations=np.array(row["activations"], dtype=np.float32),
        peak=row["peak"],
    )


def marked(of: Window, marks: Iterable[int]) -> Passage:
    return replace(of.passage, marks=tuple(sorted(marks)))


def _kept(drawn: list[Window], kept: list[Window]) -> list[Window]:
    before, after = (Counter(w.stratum for w in windows) for windows in (drawn, kept))
    return [replace(w, weight=w.weight * before[w.stratum] / after[w.stratum]) for w in kept]


def _random_order(of: Window) -> float:
    return _hash(of.row, _ORDER, 0)


def _hash(value: int, family: str, seed: int) -> float:
    """0 … 1. In plain Python: a call for each window, where an array of one costs twenty times as much."""
    digest = hashlib.blake2b(f"{family}:{seed}:{value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64
