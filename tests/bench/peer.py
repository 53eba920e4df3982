"""A program in the peers' own environment (`make peers`): it is started once, then told what to do line by line.

Their libraries and ours cannot live in one environment, and starting Python is not what is measured, so a peer keeps
its own clock and answers each line of JSON with one line of JSON, the first being "ready".
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".peers" / "bin" / "python"


class Peer:
    """A script of `tests/bench/peers/`, with our number of threads and without a network."""

    def __init__(self, script: str, *arguments: object) -> None:
        if not PYTHON.exists():
            raise SystemExit("The peers are not installed. Run `make peers`, or give --peers none.")
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [PYTHON, Path(__file__).parent / "peers" / script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
        self._answer()

    def ask(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._log.seek(0)
        raise SystemExit(f"A peer ended with {self._process.wait()}:\n{self._log.read()[-4000:]}")

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._log.close()
