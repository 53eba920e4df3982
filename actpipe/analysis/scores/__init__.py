"""Scores by name; a new one is a file and a line here. Plugins add others (sae/plugins.py)."""

from sae.plugins import Registry

from .bigrams import Bigrams
from .concepts import Concepts
from .mono_semanticity import MonoSemanticity
from .neighbours import Neighbours
from .positions import Positions
from .rules import Rules
from .samples import Samples
from .score import Accumulator, Metric, Score, Scored, State, Subject
from .vendi import Vendi

_ALL: tuple[type[Score], ...] = (Samples, Positions, MonoSemanticity, Vendi, Concepts, Rules, Bigrams, Neighbours)
SCORES: Registry[type[Score]] = Registry("scores", {score.name: score for score in _ALL})

__all__ = ["SCORES", "Accumulator", "Metric", "Score", "Scored", "State", "Subject"]
