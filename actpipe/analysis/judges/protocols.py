"""The protocols by name."""

from __future__ import annotations

from .detection import Detection
from .discrimination import Discrimination
from .fuzzing import Fuzzing
from .intruder import Intruder
from .protocol import Protocol
from .ranking import Embedding, Surprisal
from .simulation import Simulation

_ALL: tuple[Protocol, ...] = (
    Detection(),
    Discrimination(),
    Fuzzing(),
    Simulation(),
    Surprisal(),
    Embedding(),
    Intruder(),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
