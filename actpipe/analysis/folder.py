"""The report folder: built beside its place, renamed into it, so that it is whole or absent.

A stop at any moment leaves the old report, or none for the instant between two renames, never a part of a new one.
What a killed analysis left has a name ending in `.partial`; the next one removes it, and puts back a report that was
moved aside.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actpipe.errors import Misuse
from actpipe.files import is_another_running, sync_folder, sync_tree

PAGE, SUMMARY = "index.html", "summary.json"


def summary_of(out: Path) -> dict[str, Any] | None:
    """Of the whole report at `out`; None where there is none."""
    try:
        summary = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    is_report = isinstance(summary, dict) and str(summary.get("format", "")).startswith("actpipe-report")
    return summary if is_report else None


def is_whole(out: Path) -> bool:
    """Whether the page, what it loads and every table are there."""
    from .schemas import COLUMNS

    tables = (out / "parquet" / f"{name}.parquet" for name in COLUMNS)
    return (out / PAGE).exists() and (out / "data").is_dir() and all(table.exists() for table in tables)


def refuse_foreign(out: Path) -> None:
    """Never replace what is not a report."""
    if out.is_dir() and (summary_of(out) is not None or not any(out.iterdir())):
        return
    if out.exists():
        raise Misuse(f"{out} exists and is not a report, so it is left alone. Give --out another place.")


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `out` when the block ends without an exception, and nothing otherwise."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(out)
    new, old = (out.with_name(f"{out.name}.{os.getpid()}.{kind}.partial") for kind in ("new", "old"))
    try:
        new.mkdir()
        yield new
        sync_tree(new)
        if out.exists():
            os.rename(out, old)
        os.rename(new, out)
        sync_folder(out.parent)
    finally:
        if old.exists() and not out.exists():
            os.rename(old, out)
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def work_folder(out: Path, key: str) -> Iterator[Path]:
    """Where an analysis keeps what it has gathered: a killed one of the same inputs (`key`) goes on from there. It goes
    when the analysis is whole; what another analysis of `out` left is removed first."""
    place = out.absolute().with_name(f"{out.name}.work.partial")
    if place.exists() and not (place / key).exists():
        shutil.rmtree(place)
    made = [folder for folder in place.parents if not folder.exists()]  # the innermost first
    (place / key).mkdir(parents=True, exist_ok=True)
    try:
        yield place / key
    except BaseException:
        if not any(path.is_file() for path in place.rglob("*")):  # refused before anything was gathered
            shutil.rmtree(place)
            for folder in made:
                if not any(folder.iterdir()):
                    folder.rmdir()
        raise
    shutil.rmtree(place)


def _remove_stale(out: Path) -> None:
    """Folders of analyses whose process is gone (or is this one)."""
    pattern = re.compile(re.escape(out.name) + r"\.(\d+)\.(new|old)\.partial")
    for path in out.parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match and not is_another_running(int(match[1])):
            if match[2] == "old" and not out.exists():
                os.rename(path, out)  # killed between the two renames: the old report is whole
            else:
                shutil.rmtree(path, ignore_errors=True)
