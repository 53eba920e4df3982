"""What a judge can be asked, and what it answers. A question never holds the truth: judges are blind.

Texts of a corpus are data. They may contain "ignore the above" or a closing bracket of any markup, so nobody pastes
them into a prompt or a page without quoting (prompts.py, human_page.py).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Passage:
    """A window of tokens. `marks`: indices of tokens that are shown between << and >>."""

    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    marks: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def runs(self) -> list[tuple[str, bool]]:
        """Texts of successive tokens that are marked or not."""
        marks, found = set(self.marks), list[tuple[str, bool]]()
        for i, text in enumerate(self.texts):
            if found and found[-1][1] == (i in marks):
                found[-1] = (found[-1][0] + text, i in marks)
            else:
                found.append((text, i in marks))
        return found


@dataclass(frozen=True)
class Explanation:
    text: str
    rule: str | None = None  # JSON that machine_rules.py executes
    source: str = ""


@dataclass(frozen=True)
class Explain:
    """Say in at most 30 words when the unit fires. `positives` show the token where it fires most, `negatives` are
    texts like them on which it is silent, `logit_tokens` are those it makes likelier."""

    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]
    logit_tokens: tuple[str, ...] = ()


@dataclass(frozen=True)
class Detect:
    """Does the unit fire somewhere in the passage? One probability a passage."""

    explanation: Explanation
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Mark:
    """Fuzzing: are the marked tokens those on which the unit fires? One probability a passage."""

    explanation: Explanation
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Tell:
    """Which of two passages does the unit fire on? Probabilities that it is the first one, one a pair."""

    explanation: Explanation
    pairs: tuple[tuple[Passage, Passage], ...]


@dataclass(frozen=True)
class Simulate:
    """How strongly, 0 to 10, does the unit fire on each token? One number a token."""

    explanation: Explanation
    passage: Passage


@dataclass(frozen=True)
class Surprise:
    """How much likelier does the explanation make the passage? Δ in nats, one a passage:
    Δ = Σ_t [log p(x_t | explanation) − log p(x_t | "Various unrelated sentences.")]."""

    explanation: Explanation
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Compare:
    """Cosine between the explanation and each passage."""

    explanation: Explanation
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Spot:
    """Intruder: which of the passages does not belong? One probability a passage; no explanation is given."""

    passages: tuple[Passage, ...]


Question: TypeAlias = Explain | Detect | Mark | Tell | Simulate | Surprise | Compare | Spot


@dataclass(frozen=True)
class Answer:
    """`values` has the length the question asks for; NaN where the judge failed to answer."""

    values: tuple[float, ...] = ()
    explanation: Explanation | None = None
    failed: int = 0


def identity(question: Question, item: int = 0) -> str:
    """Names one item of a question: the same in every run, and says nothing of the unit."""
    text = json.dumps([type(question).__name__, asdict(question), item], ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
