"""Ctrl-C between steps, never inside one: half a step applied would be saved as if it were whole.

The same for a request to end, which is how torchrun and schedulers pass on a Ctrl-C or a limit of time.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def remembered_interrupt() -> Iterator[Callable[[], bool]]:
    """Inside the block the first signal is remembered, and what is yielded tells; a second one is raised at once."""
    asked = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield lambda: False
        return
    before = [signal.signal(number, remember) for number in SIGNALS]
    try:
        yield lambda: asked
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
