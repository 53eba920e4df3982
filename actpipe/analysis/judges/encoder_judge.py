"""Backend `encoder`: cosine between the embeddings of explanation and window. It ranks and never decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .judge import Judge
from .questions import Answer, Compare, Detect, Question, Tell

Encode = Callable[[Sequence[str]], NDArray[np.float32]]  # texts → [texts, d] of unit length
_INSTRUCTION = "Text with the following property: "


class EncoderJudge(Judge):
    decides = False

    def __init__(self, name: str, encode: Encode) -> None:
        self.name, self._encode, self._lock = f"encoder:{name}", encode, Lock()
        self.answers = frozenset({Detect, Compare, Tell})

    def answer(self, question: Question) -> Answer:
        match question:
            case Detect(explanation, passages) | Compare(explanation, passages):
                return Answer(tuple(self._cosines(explanation.text, [p.text for p in passages])))
            case Tell(explanation, pairs):
                found = self._cosines(explanation.text, [p.text for pair in pairs for p in pair])
                return Answer(tuple(0.5 + 0.5 * float(np.sign(a - b)) for a, b in zip(*[iter(found)] * 2, strict=True)))
            case _:
                raise Misuse(f"The judge {self.name} cannot be asked to {type(question).__name__}.")

    def _cosines(self, explanation: str, texts: list[str]) -> list[float]:
        if not texts:
            return []
        with self._lock:
            embedded = self._encode([_INSTRUCTION + explanation, *texts])
        return [float(x) for x in embedded[1:] @ embedded[0]]
