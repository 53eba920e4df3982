"""A pass over the rows by many processes: every part is a task of Dask.

What a part gives is a function of the part, and parts are merged in order, so the tables are the same to the last bit
with any number of workers, whichever of them die on the way. Saved codes go to the folder of the analysis: workers on
other machines need to see it under the same path.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from actpipe.errors import Failure

from .corpus import Part
from .passes import Advance, M, Pass, restore, states
from .scores import State

AHEAD = 2  # parts a worker that may wait to be merged
DEATHS = 5  # of workers at one part: then it is not chance


class Workers:
    """A gatherer: parts are done by the workers of a Dask client."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __call__(self, passed: Pass[M], parts: Sequence[Part], advance: Advance) -> Iterator[list[M]]:
        here = self.client.scatter(passed, broadcast=True, hash=False)
        ahead = AHEAD * max(1, len(self.client.scheduler_info()["workers"]))
        waiting = deque(parts)
        running: deque[tuple[Part, Any]] = deque()
        while waiting or running:
            while waiting and len(running) < ahead:
                part = waiting.popleft()
                running.append((part, self._submit(here, part)))
            part, future = running.popleft()
            found = deepcopy(list(passed.empty))
            restore(found, self._result(here, part, future))
            advance((part.stop - part.first) * passed.corpus.store.context)
            yield found

    def _submit(self, here: Any, part: Part) -> Any:
        return self.client.submit(_gathered, here, part, pure=False, key=f"part-{part.number}-{secrets.token_hex(8)}")

    def _result(self, here: Any, part: Part, future: Any) -> State:
        from distributed import KilledWorker

        for _ in range(DEATHS):
            try:
                found: State = future.result()
                return found
            except KilledWorker:
                future = self._submit(here, part)
        raise Failure(
            f"{DEATHS} workers died at part {part.number}, one after the other. They probably have too little memory: "
            "use fewer --workers. The same command continues."
        )


def _gathered(passed: Pass[Any], part: Part) -> State:
    """Runs in a worker."""
    return states(passed.gather(part))
