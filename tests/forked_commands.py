"""Runs commands of actpipe in processes forked from this one, which has everything imported and a model loaded.

A request on standard input is a line of JSON: `arguments`, `folder`, and when to kill -9 it: `die_at` (the n-th file
operation of the process) or `die_after` (seconds). The answer is a line with `code`, `stdout` and `stderr`.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actpipe.harvest import plan, stage
from cli.__main__ import main

OPERATIONS = ("writev", "fsync", "replace", "rename", "open", "mkdir", "unlink")


def die_at(operation: int) -> None:
    """Let the n-th call of any of these be the last; a write writes half of it before."""
    calls = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == operation:
                if function is writev:
                    writev(arguments[0], [arguments[1][0][: len(arguments[1][0]) // 2]])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    writev = os.writev
    for name in OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))


def kept(load: Callable[..., Any]) -> Callable[..., Any]:
    """`load` that knows what it loaded before; children inherit what this process has."""
    known: dict[str, Any] = {}

    @functools.wraps(load)
    def call(*arguments: Any, **options: Any) -> Any:
        key = repr((arguments[0], options.get("dtype")))
        if key not in known:
            known[key] = load(*arguments, **options)
        return known[key]

    return call


def run(request: dict[str, Any], outputs: list[Any]) -> None:
    """In the child; does not return."""
    os.chdir(request["folder"])
    for descriptor, file in enumerate(outputs, start=1):
        os.dup2(file.fileno(), descriptor)
    sys.argv = ["actpipe", *request["arguments"]]
    if request.get("die_at"):
        die_at(request["die_at"])
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 99
    sys.stdout.flush()
    os._exit(code)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = os.fork()
        if child == 0:
            run(request, [stdout, stderr])
        if request.get("die_after"):
            time.sleep(request["die_after"])
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = [os.pread(file.fileno(), 1 << 20, 0).decode() for file in (stdout, stderr)]
    return {"code": code, "stdout": texts[0], "stderr": texts[1]}


def serve() -> None:
    plan.SMALLEST_SLAB_BYTES = 1 << 16
    # Not changed in themselves by a harvest.
    for name in ("load_model", "load_config", "load_tokenizer"):
        setattr(stage, name, kept(getattr(stage, name)))
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("here"):  # so that everything is imported and the model is loaded before the first fork
            with tempfile.TemporaryDirectory() as folder:
                sys.argv = ["actpipe", *request["arguments"], "--out", str(Path(folder) / "store.zarr"), "--quiet"]
                sys.stdout, told = open(os.devnull, "w"), sys.stdout  # noqa: SIM115
                main()
                sys.stdout = told
        print(json.dumps({} if request.get("here") else answer(request)), flush=True)


if __name__ == "__main__":
    serve()
