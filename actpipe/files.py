"""Files that are either whole or absent: write under a temporary name, flush to the disk, rename.

Temporary names end in `.partial`; whoever opens a folder that we own may delete them.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes `path` when the block ends without an exception, and nothing otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Readable JSON, keys in the order given; NaN and infinities are refused because JSON has no such numbers."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """JSON Lines."""
    write_bytes(path, b"".join((json.dumps(v, ensure_ascii=False, allow_nan=False) + "\n").encode() for v in values))


def sync_tree(folder: Path) -> None:
    """Flush every file below `folder`, then the folders that name them: call it before renaming a folder into place."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_folder(Path(root, name))  # fsync of a file works through the same call
        sync_folder(Path(root))


def is_another_running(process: int) -> bool:
    """Whether a process of that number, not this one, is alive: its temporary files are then not litter.

    Our own number on a leftover means that a restarted container gave it out again.
    """
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
