"""Writes the small store in processes that kill themselves (SIGKILL) at a chosen file operation.

Run by test_store_writing.py in a process of its own, because it forks. Prints how many were killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actpipe.store import Store, verify
from tests.small_store import empty_store, slab_of


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
    for name in ("writev", "fsync", "replace", "open"):
        setattr(os, name, counted(getattr(os, name)))


def write_all(path: Path, operation: int) -> None:
    die_at(operation)
    store = Store.open(path)
    for slab in store.recover():
        store.write_slab(slab, slab_of(store, slab))


def killed(path: Path, operation: int) -> bool:
    """Write in a child; what it left must be sound as far as it is committed."""
    child = os.fork()
    if child == 0:
        write_all(path, operation)
        os._exit(0)
    died = os.waitpid(child, 0)[1] != 0
    assert not verify(path)["damaged"]
    return died


def main() -> None:
    path = Path(sys.argv[1])
    store = empty_store(path)
    operations = 60  # a slab takes about 30
    for operation in range(1, operations):
        assert killed(path, operation)
        for slab in store.committed:
            store.withdraw(slab)
    runs = 0
    while killed(path, operations):  # every run commits a slab or two and is killed in the next
        runs += 1
    print(operations - 1 + runs)


main()
