"""The folder of a trained model (docs/reference/lm-run-format.md): a model that `harvest --model` takes, and below
`training/` how it came about and what continues it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import actpipe
from actpipe.errors import Damaged, Mismatch, Misuse
from actpipe.files import write_json, write_lines
from actpipe.harvest.provenance import numeric_versions
from actpipe.store.metadata import differences

from .config import Dtype

FORMAT, VERSION = "actpipe-lm-run", 1


class LMFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.training = path / "training"
        self.checkpoint = self.training / "checkpoint.safetensors"
        self.validation = self.training / "validation"
        self._run = self.training / "run.json"
        self._results = self.training / "results.json"
        self._metrics = self.training / "metrics.jsonl"

    def begin(self, settled: dict[str, Any], recipe: dict[str, Any], *, overwrite: bool) -> None:
        """A new folder, or the one that the same configuration began."""
        self.require_ours()
        if overwrite and self.path.exists():
            shutil.rmtree(self.path)
        for litter in self._litter():
            shutil.rmtree(litter) if litter.is_dir() else litter.unlink()
        if self.is_begun:
            self.require(settled)
            return
        write_json(
            self._run,
            {
                "format": FORMAT,
                "version": VERSION,
                "config": settled,
                "recipe": recipe,
                "actpipe": actpipe.__version__,
                "versions": numeric_versions(),
            },
        )

    def require_ours(self) -> None:
        """Raise where something lies that is no training: it is neither removed nor written into."""
        if self.is_begun or not self.path.exists():
            return
        if not self.path.is_dir():
            raise Misuse(f"{self.path} is a file, and a model is a folder. Give --out another place.")
        known = {self.training, *self._litter()} if self.training.is_dir() else set()
        if {*self.path.iterdir(), *(self.training.iterdir() if known else ())} - known:
            raise Misuse(f"{self.path} is not empty and holds no training of actpipe. Give --out another place.")

    def _litter(self) -> list[Path]:
        """Of a run that was killed while writing; where none has begun, only what its first file left."""
        return list(
            self.path.rglob("*.partial") if self.is_begun else self.training.glob(f"{self._run.name}.*.partial")
        )

    def dtype(self) -> Dtype:
        """Of matrix products in what has begun here: on another machine `auto` may mean another one."""
        if not self.is_begun:
            return "auto"
        return "bfloat16" if self.description()["config"].get("dtype") == "bfloat16" else "float32"

    def require(self, settled: dict[str, Any]) -> None:
        """Raise unless this configuration began the run."""
        if unlike := differences(self.description()["config"], settled):
            raise Mismatch(
                f"{self.path} holds another training: {'; '.join(unlike[:3])}. "
                "Give --out another place, the same options again, or --overwrite to start anew."
            )

    @property
    def is_begun(self) -> bool:
        return self._run.exists()

    @property
    def is_complete(self) -> bool:
        return self._results.exists()

    def description(self) -> dict[str, Any]:
        described = _read(self._run)
        if (described.get("format"), described.get("version")) != (FORMAT, VERSION):
            raise Mismatch(
                f"{self._run} is {described.get('format')} version {described.get('version')}; "
                f"this actpipe reads {FORMAT} version {VERSION}."
            )
        return described

    def results(self) -> dict[str, Any]:
        return _read(self._results)

    def write_results(self, results: dict[str, Any]) -> None:
        """Last of all: it says that the training is complete, and nothing is left to continue."""
        write_json(self._results, {"format": "actpipe-lm-results", "version": VERSION, **results})
        self.checkpoint.unlink(missing_ok=True)

    def metrics(self) -> list[dict[str, Any]]:
        if not self._metrics.exists():
            return []
        try:
            return [json.loads(line) for line in self._metrics.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise Damaged(f"{self._metrics} is not JSON Lines ({error}). Train again with --overwrite.") from None

    def write_metrics(self, lines: Iterable[dict[str, Any]]) -> None:
        write_lines(self._metrics, lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also of bytes that are not UTF-8
        raise Damaged(f"{path} is not JSON ({error}). Train again with --overwrite.") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path} is not a JSON object. Train again with --overwrite.")
    return value
