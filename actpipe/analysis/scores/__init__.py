"""Scores by name; a new one is a file and a line here."""

from .mono_semanticity import MonoSemanticity
from .score import Accumulator, Metric, Score, Scored, State, Subject

_ALL: tuple[type[Score], ...] = (MonoSemanticity,)
SCORES = {score.name: score for score in _ALL}

__all__ = ["SCORES", "Accumulator", "Metric", "Score", "Scored", "State", "Subject"]
