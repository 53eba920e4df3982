"""Runs commands of actpipe in processes forked from this one, which has everything imported.

A request on standard input is a line of JSON: `arguments`, `folder`, the `environment` where it is not this process's,
and when to kill it: `die_at` (the n-th file operation of the process) or `die_after` (seconds), both with -9, `timeout`
(seconds) with an alarm. Packages installed in the folder `site` are found too. The answer is a line with `code`,
`stdout` and `stderr`. A request with `here` is a command for this process itself: afterwards slabs are small, and
models that it loads stay loaded for its children.
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
from importlib import import_module
from pathlib import Path
from typing import Any

from actpipe.harvest import plan, stage
from cli.__main__ import COMMANDS, main

# What commands import when they need it, and is slow to import. None starts a thread that a child would miss.
HEAVY = (
    "actpipe.analysis.corpus",
    "actpipe.analysis.passes",
    "actpipe.convert.stage",
    "actpipe.report",
    "actpipe.training.stage",
    "altair",
    "datasets",
    "rich.progress",
    "transformer_lens",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.gpt_neox.modeling_gpt_neox",
    "transformers.models.llama.modeling_llama",
    "zarr",
)
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
    if "environment" in request:
        os.environ.clear()
        os.environ.update(request["environment"])
    if "site" in request:
        sys.path.append(request["site"])
    signal.alarm(request.get("timeout", 0))
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


def here(request: dict[str, Any]) -> dict[str, Any]:
    plan.SMALLEST_SLAB_BYTES = 1 << 16
    # Not changed in themselves by a harvest.
    for name in ("load_model", "load_config", "load_tokenizer"):
        setattr(stage, name, kept(getattr(stage, name)))
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["actpipe", *request["arguments"], "--out", str(Path(folder) / "store.zarr"), "--quiet"]
        sys.stdout, told = open(os.devnull, "w"), sys.stdout  # noqa: SIM115
        main()
        sys.stdout = told
    return {}


def serve() -> None:
    for name in (*(f"cli.{file}" for file, _ in COMMANDS.values()), *HEAVY):
        import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(here(request) if request.get("here") else answer(request)), flush=True)


if __name__ == "__main__":
    serve()
