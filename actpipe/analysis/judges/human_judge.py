"""Backend `human`: the questions become a form (human_page.py), the answers come back as CSV or JSON.

The same run as for any judge, twice: without answers it collects the questions, with them it scores. A question names
no unit, no stratum and no truth; control and unit share their place where they share an explanation.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from actpipe.errors import Damaged, Missing, Misuse

from .judge import Judge
from .questions import Answer, Detect, Explanation, Mark, Passage, Question, Tell, identity


@dataclass(frozen=True)
class Item:
    """One decision: yes or no, or first or second."""

    name: str
    kind: Literal["detect", "mark", "tell"]
    explanation: str
    passages: tuple[Passage, ...]


class HumanJudge(Judge):
    def __init__(self, name: str, given: dict[str, float]) -> None:
        self.name, self._given = f"human:{name}", given
        self.answers = frozenset({Detect, Mark, Tell})
        self._items: dict[str, Item] = {}
        self._lock = Lock()

    def answer(self, question: Question) -> Answer:
        match question:
            case Detect(explanation, passages):
                singles = [(Detect(explanation, (p,)), (p,)) for p in passages]
                return self._looked_up("detect", explanation, singles)
            case Mark(explanation, passages):
                return self._looked_up("mark", explanation, [(Mark(explanation, (p,)), (p,)) for p in passages])
            case Tell(explanation, pairs):
                return self._looked_up("tell", explanation, [(Tell(explanation, (p,)), p) for p in pairs])
            case _:
                raise Misuse(f"The judge {self.name} cannot be asked to {type(question).__name__}.")

    @property
    def missing(self) -> list[Item]:
        """Asked and not answered: by explanation, both in an order that says nothing."""
        found = [item for name, item in self._items.items() if name not in self._given]
        first = {item.explanation: min(i.name for i in found if i.explanation == item.explanation) for item in found}
        return sorted(found, key=lambda item: (first[item.explanation], item.name))

    def _looked_up(
        self,
        kind: Literal["detect", "mark", "tell"],
        explanation: Explanation,
        asked: Sequence[tuple[Question, tuple[Passage, ...]]],
    ) -> Answer:
        items = [Item(identity(question), kind, explanation.text, passages) for question, passages in asked]
        with self._lock:
            self._items.update((item.name, item) for item in items)
        values = tuple(self._given.get(item.name, math.nan) for item in items)
        return Answer(values, failed=sum(math.isnan(value) for value in values))


def read_answers(path: Path) -> dict[str, float]:
    """{item: 1 or 0 or 0.5} of the form's CSV (columns item and answer) or JSON (an object)."""
    if not path.is_file():
        raise Missing(f"{path} is not there; give the file that the form saved.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _of_json(text) if text.lstrip()[:1] in ("{", "[") else _of_csv(text)
        found = {str(item): float(answer) for item, answer in rows if str(answer).strip()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is not a file of answers ({error}); it has the columns item and answer.") from error
    wrong = next((item for item, value in found.items() if value not in (0.0, 0.5, 1.0)), None)
    if wrong is not None:
        raise Damaged(f"The answer to item {wrong} in {path} is {found[wrong]:g}; answers are 1, 0 or 0.5.")
    return found


def _of_json(text: str) -> list[tuple[Any, Any]]:
    return list(json.loads(text).items())


def _of_csv(text: str) -> list[tuple[Any, Any]]:
    return [(row["item"], row["answer"]) for row in csv.DictReader(io.StringIO(text))]
