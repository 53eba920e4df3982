"""The passages of the exam: per unit 12 on which it fires and 12 on which it does not, written from a seed.

Positives are half of what the narrow explanation covers and half of what it misses; negatives are half of what the
broad explanation wrongly covers and half of neither. So a judge who does what it is told gets a balanced accuracy of 1
with the exact explanation and 0.75 with the broad and the narrow one. Every passage also holds a phrase of another
unit, drawn alike for both classes: a judge who is told of another unit gets 0.5.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from .exam_forms import FORMS
from .exam_unit import PlantedUnit
from .exam_words import WORDS
from .questions import Passage

PLANTED: tuple[PlantedUnit, ...] = (*FORMS, *WORDS)
PER_CLASS = 12
_PIECE = re.compile(r" ?\w+| ?[^\w\s]|\s")
# Words of no unit: no list, ending, sign or phrase above matches them.
_FILLER = (
    "small stones lay across that quiet path while people slept",
    "her brother kept several letters from last winter inside another drawer",
    "some children watch how clouds hung over warm fields",
    "they spoke about money for hours without much hope",
    "a letter came from abroad with pictures from their journey",
    "his answer did not surprise those who knew him well",
    "we found paper below that table where old books stood",
    "most people there knew about where such things belong",
)


@dataclass(frozen=True)
class Examined:
    unit: PlantedUnit
    passages: tuple[Passage, ...]
    fires: tuple[bool, ...]


def examined(unit: PlantedUnit, *, seed: int = 0) -> Examined:
    draw = random.Random(f"{seed}:{unit.name}")
    half = PER_CLASS // 2
    texts = [
        *((_positive(unit, unit.inner, draw, narrow=True), True) for _ in range(half)),
        *((_positive(unit, unit.outer, draw, narrow=False), True) for _ in range(half)),
        *((_negative(unit, unit.near, draw, broad=True), False) for _ in range(half)),
        *((_negative(unit, ("",), draw, broad=False), False) for _ in range(half)),
    ]
    draw.shuffle(texts)
    return Examined(unit, tuple(passage(text) for text, _ in texts), tuple(fires for _, fires in texts))


def passage(text: str) -> Passage:
    """Text in pieces like those of a language model's tokenizer; token numbers are of no consequence here."""
    pieces = _PIECE.findall(text)
    return Passage(tuple(range(len(pieces))), tuple(pieces))


def _positive(unit: PlantedUnit, phrases: tuple[str, ...], draw: random.Random, *, narrow: bool) -> str:
    while True:
        text = _text(unit, draw.choice(phrases), draw)
        if unit.exact.holds(text) and unit.broad.holds(text) and unit.narrow.holds(text) == narrow:
            return text


def _negative(unit: PlantedUnit, phrases: tuple[str, ...], draw: random.Random, *, broad: bool) -> str:
    while True:
        text = _text(unit, draw.choice(phrases), draw)
        if not unit.exact.holds(text) and unit.broad.holds(text) == broad:
            return text


def _text(unit: PlantedUnit, own: str, draw: random.Random) -> str:
    other = draw.choice([u for u in PLANTED if u.family != unit.family])
    distractor = draw.choice(other.inner + other.outer)
    filler = draw.choice(_FILLER).split()
    for phrase in filter(None, draw.sample([own, distractor], 2)):
        filler.insert(draw.randrange(1, len(filler)), phrase)
    return " ".join(filler)
