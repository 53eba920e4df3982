"""The run folder (docs/reference/run-format.md): what it says, and whether it may be continued."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import actpipe
from actpipe.errors import Damaged, Mismatch, Missing, Misuse
from actpipe.files import write_json, write_lines
from actpipe.store import Store
from actpipe.store.metadata import differences

FORMAT, RESULTS_FORMAT, VERSION = "actpipe-run", "actpipe-results", 1


class RunFolder:
    def __init__(self, path: Path, part: str = "") -> None:
        """`part`: which of several processes this is, such as `0of2`; files of their own carry it in their names."""
        self.path = path
        self._part = f".{part}" if part else ""

    @classmethod
    def begin(cls, path: Path, store: Store, config: dict[str, Any], *, overwrite: bool) -> RunFolder:
        """The folder for this run: a new one, or the one that the same store and configuration began.

        Of several processes one begins the run, and the others come when it is there.
        """
        run = cls(path)
        if overwrite:
            cls._remove(path)
        for litter in path.rglob("*.partial"):  # of a run that was killed while writing
            litter.unlink()
        if not run._file.exists():
            if path.exists() and any(path.iterdir()):
                raise Misuse(f"{path} is not empty and holds no run. Give --out another place.")
            write_json(run._file, _description(path, store, config))
            return run
        run.require(store, config)
        return run

    def require(self, store: Store, config: dict[str, Any]) -> None:
        """Raise unless this store and configuration began the run."""
        path, described = self.path, self.description()
        unlike = differences(described["config"], config)
        if described["store"]["fingerprint"] != store.fingerprint:
            unlike.insert(0, f"it was trained on another store ({described['store']['path']})")
        if unlike:
            raise Mismatch(
                f"{path} holds another run: {'; '.join(unlike[:3])}. "
                "Give --out another place, the same options again, or --overwrite to start anew."
            )

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A complete run."""
        run = cls(path)
        if not run._file.exists():
            raise Missing(f"There is no training run at {path}; run `actpipe train-sae` first, or name another place.")
        run.description()
        if not run.is_complete:
            raise Missing(f"The run at {path} is not finished; run the same `actpipe train-sae` again to finish it.")
        return run

    @staticmethod
    def _remove(path: Path) -> None:
        if path.exists():
            with contextlib.suppress(Damaged):  # refuses what is not a run, so that --overwrite removes nothing else
                RunFolder(path).description()
            shutil.rmtree(path)

    @property
    def _file(self) -> Path:
        return self.path / "run.json"

    @property
    def _results(self) -> Path:
        return self.path / "results.json"

    @property
    def is_complete(self) -> bool:
        return self._results.exists()

    def description(self) -> dict[str, Any]:
        if not self._file.exists():
            raise Misuse(f"{self.path} holds no run of actpipe, so it is left alone.")
        described = _read(self._file)
        if (described.get("format"), described.get("version")) != (FORMAT, VERSION):
            raise Mismatch(
                f"{self._file} is {described.get('format')} version {described.get('version')}; "
                f"this actpipe reads {FORMAT} version {VERSION}."
            )
        return described

    def results(self) -> list[dict[str, Any]]:
        members: list[dict[str, Any]] | None = _read(self._results).get("members")
        if members is None:
            raise Damaged(f"{self._results} lists no members. Remove it and run the same `actpipe train-sae` again.")
        return members

    def write_results(self, members: list[dict[str, Any]]) -> None:
        write_json(self._results, {"format": RESULTS_FORMAT, "version": VERSION, "members": members})
        shutil.rmtree(self._checkpoints, ignore_errors=True)  # nothing is left to continue
        for finished in (*self.path.glob("metrics.*of*.jsonl"), *self.path.glob("results.*of*.json")):
            finished.unlink()

    def write_matching(self, comparisons: dict[str, Any]) -> None:
        write_json(self.path / "matching.json", comparisons)

    def checkpoint(self, group: str) -> Path:
        return self._checkpoints / f"{group}{self._part}.safetensors"

    def require_same_processes(self) -> None:
        """Checkpoints hold the members of one process each, so as many processes must continue as have begun."""
        foreign = [
            found for found in self._checkpoints.glob("*.safetensors") if _part_of(found) != _count_of(self._part)
        ]
        if foreign:
            began = _part_of(foreign[0]) or "1"
            raise Mismatch(
                f"The run at {self.path} was begun by {began} processes (its checkpoints have {foreign[0].name}). "
                "Continue it with as many, or start anew with --overwrite."
            )

    def member(self, name: str) -> Path:
        return self.path / "members" / name

    def metrics(self) -> list[dict[str, Any]]:
        return _read_lines(self.path / f"metrics{self._part}.jsonl")

    def write_metrics(self, lines: Iterable[dict[str, Any]]) -> None:
        write_lines(self.path / f"metrics{self._part}.jsonl", lines)

    def write_part(self, found: dict[str, dict[str, Any]]) -> None:
        """The results of the members of this process, by name."""
        write_json(self.path / f"results{self._part}.json", found)

    def parts(self, count: int) -> list[tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]]:
        """Results and curves of every process."""
        runs = [RunFolder(self.path, f"{rank}of{count}") for rank in range(count)]
        return [(_read(run.path / f"results{run._part}.json"), run.metrics()) for run in runs]

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoint"


def check_place(path: Path, store: Store) -> None:
    """Raise Misuse where no run can be, before anything is written or removed."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise Misuse(f"{there} is a file, so there can be no run at {path}. Give --out another place.")
    if not isinstance(store.place, Path):
        return
    run, rows = path.resolve(), store.place.resolve()
    if rows in (run, *run.parents) or run in rows.parents:
        raise Misuse(
            f"The run at {path} and the store {store.place} would lie inside each other. Give --out another place."
        )


def _part_of(checkpoint: Path) -> str:
    """How many processes wrote a checkpoint such as `name.0of2.safetensors`, as text; nothing for one."""
    return _count_of(f".{checkpoint.name.removesuffix('.safetensors').rpartition('.')[2]}")


def _count_of(part: str) -> str:
    found = re.fullmatch(r"\.\d+of(\d+)", part)
    return found[1] if found else ""


def finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity: such a number is null."""
    return value if value is not None and math.isfinite(value) else None


def _description(path: Path, store: Store, config: dict[str, Any]) -> dict[str, Any]:
    # A URL is where it is; a folder may move together with the run.
    place = store.place.absolute() if isinstance(store.place, Path) else store.place
    relative = os.path.relpath(place, path.absolute()) if isinstance(place, Path) else None
    return {
        "format": FORMAT,
        "version": VERSION,
        "store": {"path": str(place), "relative": relative, "fingerprint": store.fingerprint},
        "config": config,
        "actpipe": actpipe.__version__,
    }


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise Damaged(f"{path} is not JSON Lines ({error}). Train again with --overwrite.") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also of bytes that are not UTF-8
        raise Damaged(f"{path} is not JSON ({error}). Train again with --overwrite.") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path} is not a JSON object. Train again with --overwrite.")
    return value
