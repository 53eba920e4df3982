"""The run folder (docs/reference/run-format.md): what it says, and whether it may be continued."""

from __future__ import annotations

import contextlib
import json
import math
import os
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
    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def begin(cls, path: Path, store: Store, config: dict[str, Any], *, overwrite: bool) -> RunFolder:
        """The folder for this run: a new one, or the one that the same store and configuration began."""
        if overwrite:
            cls._remove(path)
        run = cls(path)
        for litter in path.rglob("*.partial"):  # of a run that was killed while writing
            litter.unlink()
        if not run._file.exists():
            if path.exists() and any(path.iterdir()):
                raise Misuse(f"{path} is not empty and holds no run. Give --out another place.")
            write_json(run._file, _description(path, store, config))
            return run
        described = run.description()
        unlike = differences(described["config"], config)
        if described["store"]["fingerprint"] != store.fingerprint:
            unlike.insert(0, f"it was trained on another store ({described['store']['path']})")
        if unlike:
            raise Mismatch(
                f"{path} holds another run: {'; '.join(unlike[:3])}. "
                "Give --out another place, the same options again, or --overwrite to start anew."
            )
        return run

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
        shutil.rmtree(self.path / "checkpoint", ignore_errors=True)  # nothing is left to continue

    def checkpoint(self, group: str) -> Path:
        return self.path / "checkpoint" / f"{group}.safetensors"

    def member(self, name: str) -> Path:
        return self.path / "members" / name

    def metrics(self) -> list[dict[str, Any]]:
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise Damaged(f"{path} is not JSON Lines ({error}). Train again with --overwrite.") from None

    def write_metrics(self, lines: Iterable[dict[str, Any]]) -> None:
        write_lines(self.path / "metrics.jsonl", lines)


def finite(value: float) -> float | None:
    """JSON has no NaN and no infinity: such a number is null."""
    return value if math.isfinite(value) else None


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


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also of bytes that are not UTF-8
        raise Damaged(f"{path} is not JSON ({error}). Train again with --overwrite.") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path} is not a JSON object. Train again with --overwrite.")
    return value
