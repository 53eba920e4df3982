"""A program in the peers' own environment (`make peers`): it is started once, then told what to do line by line.

Their libraries and ours cannot live in one environment, and starting Python is not what is measured, so a peer keeps
its own clock and answers each line of JSON with one line of JSON, the first being "ready".
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch

from actpipe.memory import LARGEST

PYTHON = Path(__file__).parents[2] / ".peers" / "bin" / "python"

Ask: TypeAlias = Callable[..., Any]


@contextmanager
def peer(script: str, *arguments: object, keep_memory: bool = False) -> Iterator[Ask]:
    """Yield `ask(**order) → answer` of a script of `tests/bench/peers/`, with our number of threads and no network.

    `keep_memory`: the peer's freed memory stays with it, as ours does in training (actpipe/memory.py).
    """
    if not PYTHON.exists():
        raise SystemExit("The peers are not installed. Run `make peers`, or give --peers none.")
    command = [str(each) for each in (PYTHON, Path(__file__).parent / "peers" / script, *arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    if keep_memory:
        environment |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(LARGEST)}
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def answer() -> Any:
            if line := answers.readline():
                return json.loads(line)
            log.seek(0)
            raise SystemExit(f"The peer {script} ended with {process.wait()}:\n{log.read()[-4000:]}")

        def ask(**order: Any) -> Any:
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            return answer()

        answer()
        yield ask
