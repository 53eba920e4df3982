"""`actpipe …` as a user types it: a process of its own in a folder, and what it answered.

An interpreter takes seconds to import what a command needs. `run` forks each command from one process that has
imported everything (tests/forked_commands.py); `fresh` starts an interpreter, for what only a new one shows: what an
import costs or prints, and that a command imports all that it uses.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import actpipe

ROOT = Path(actpipe.__file__).parent.parent


def surroundings(**more: str) -> dict[str, str]:
    """The environment of a command."""
    known = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}
    return {**os.environ, **known, **more}


def fresh(folder: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=folder,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def run(
    folder: Path, *arguments: str, timeout: int = 120, site: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A command that takes longer than `timeout` seconds ends with the code −SIGALRM.

    `site`: a folder with more installed packages.
    """
    asked = {"arguments": arguments, "folder": str(folder), "environment": surroundings(), "timeout": timeout}
    if site is not None:
        asked["site"] = str(site)
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    print(json.dumps(asked), file=parent.stdin, flush=True)
    answer = json.loads(parent.stdout.readline())
    return subprocess.CompletedProcess(arguments, answer["code"], answer["stdout"], answer["stderr"])


@functools.cache
def _parent() -> subprocess.Popen[str]:
    """One for all tests of this process; it ends when its standard input does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forked_commands"],
        cwd=ROOT,
        env=surroundings(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    return process
