"""Several processes that write the data files of the panels, each a run of them.

    python -m actpipe.report.panel_processes REPORT FIRST LAST

writes shards FIRST up to LAST, LAST left out, and a line of JSON for each: its key, the digest of its file, and its
tokens. Processes are started anew, not forked: whoever writes a page has threads.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType

from actpipe.errors import Failure

from .member_units import open_members
from .panel_shards import SHARD_UNITS, shards
from .payload import Vocabulary, Written, write_script
from .tables import ReportTables

WORTH = 1024 // SHARD_UNITS  # shards for which one more process is started: it needs a second to be there
MOST = 8  # processes; each holds the tables of one dictionary


class PanelProcesses:
    """Started by the call, which yields what they wrote; stopped when the context is left."""

    def __init__(self, report: Path, wanted: int) -> None:
        self._report, self._ranges = report, _ranges(wanted, processes_for(wanted))
        self._running: list[subprocess.Popen[str]] = []
        self._readers: list[Thread] = []

    def __enter__(self) -> PanelProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join()

    def __call__(self, vocabulary: Vocabulary) -> Iterator[tuple[str, Written]]:
        """They are at work from now on, whatever the reader of the iterator does first."""
        self._running = [_started(self._report, each) for each in self._ranges]
        lines: SimpleQueue[str | None] = SimpleQueue()
        self._readers = [Thread(target=_read, args=(process, lines), daemon=True) for process in self._running]
        for reader in self._readers:
            reader.start()
        return self._written(lines, vocabulary)

    def _written(self, lines: SimpleQueue[str | None], vocabulary: Vocabulary) -> Iterator[tuple[str, Written]]:
        ended = 0
        while ended < len(self._running):
            line = lines.get()
            if line is None:
                ended += 1
                continue
            key, digest, tokens = json.loads(line)
            vocabulary.use(tokens)
            yield key, Written(digest)
        for process in self._running:
            if process.wait() != 0:
                raise Failure(
                    f"A process that writes panels of {self._report} ended with {process.returncode}; what it said "
                    "stands above. The tables are whole: run the command again."
                )


def processes_for(wanted: int) -> int:
    """How many are worth their start; 1: none but the one that asks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MOST, wanted // WORTH))


def _ranges(wanted: int, parts: int) -> list[range]:
    bounds = [wanted * i // parts for i in range(parts + 1)]
    return [range(first, last) for first, last in pairwise(bounds)]


def _started(report: Path, wanted: range) -> subprocess.Popen[str]:
    arguments = [str(report), str(wanted.start), str(wanted.stop)]
    return subprocess.Popen([sys.executable, "-m", __name__, *arguments], stdout=subprocess.PIPE, text=True)


def _read(process: subprocess.Popen[str], lines: SimpleQueue[str | None]) -> None:
    with process.stdout or contextlib.nullcontext(list[str]()) as said:
        for line in said:
            lines.put(line)
    lines.put(None)


def write_shards(report: Path, wanted: range, say: Callable[[str], None]) -> None:
    tables, parent = ReportTables.open(report), os.getppid()
    vocabulary = Vocabulary(tables.vocabulary)
    for key, panels in shards(open_members(tables), vocabulary, wanted):
        if os.getppid() != parent:  # nobody waits any more
            return
        digest = write_script(report, key, panels)
        say(json.dumps([key, digest, sorted(vocabulary.used)]))
        vocabulary.used.clear()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    gc.disable()  # millions of small lists, none of them in a cycle: the collector takes a third of the time
    folder, first, last = sys.argv[1:]
    write_shards(Path(folder), range(int(first), int(last)), _say)
