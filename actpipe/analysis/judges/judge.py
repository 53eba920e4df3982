"""A judge answers questions. It is registered by its backend (`__init__.py`) and certified by an exam (exam.py)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .questions import Answer, Question


class Judge(ABC):
    name: str  # of the column `judge`: backend and model
    answers: frozenset[type]  # kinds of question it can be asked
    decides = True  # whether its answers to Detect are probabilities; a similarity only ranks

    @abstractmethod
    def answer(self, question: Question) -> Answer:
        """Called from several threads at once. Raises Failure only when no further question can be answered."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        pass
