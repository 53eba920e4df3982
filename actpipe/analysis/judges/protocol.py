"""A protocol puts questions about one unit to a judge and makes numbers of the answers. Registered in `__init__.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from .estimates import Measure
from .judge import Judge
from .questions import Explanation
from .windows import Unit


class Protocol(ABC):
    """A frozen dataclass whose fields are how many windows it asks about."""

    name: ClassVar[str]
    text: ClassVar[str]  # for whoever reads the report
    asks: ClassVar[type]  # kind of question the judge must answer

    @abstractmethod
    def measure(self, judge: Judge, unit: Unit, explanation: Explanation, *, seed: int) -> list[Measure]: ...
