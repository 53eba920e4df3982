"""Copies of the curves for TensorBoard and Weights & Biases, whose packages are loaded only when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from actpipe.errors import Missing

from .config import Log


class Viewer(Protocol):
    def add(self, line: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl."""

    def close(self) -> None: ...


class Nothing:
    def add(self, line: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class TensorBoard:
    """Event files in the run folder: `tensorboard --logdir RUN/tensorboard`. One tag a member and number."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise Missing("--log tensorboard needs a package: pip install 'actpipe[tensorboard]'.") from None
        self._folder, self._open = folder, SummaryWriter
        self._writers: dict[str, Any] = {}

    def add(self, line: Mapping[str, Any]) -> None:
        for member in line["members"]:
            name = member["name"]
            if name not in self._writers:
                # A continued run makes some steps again: their first points are dropped by the viewer.
                self._writers[name] = self._open(str(self._folder / name), purge_step=line["step"])
            for key, value in member.items():
                if key != "name" and value is not None:
                    self._writers[name].add_scalar(key, value, global_step=line["step"])

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases:
    """One run, a panel a number and a line a member. WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise Missing("--log wandb needs a package: pip install 'actpipe[wandb]'.") from None
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(project="actpipe", name=name, dir=str(folder), config=dict(config))
        self._run.define_metric("*", step_metric="rows")

    def add(self, line: Mapping[str, Any]) -> None:
        numbers = {
            f"{key}/{member['name']}": value
            for member in line["members"]
            for key, value in member.items()
            if key != "name" and value is not None
        }
        self._run.log({"rows": line["rows"], **numbers})

    def close(self) -> None:
        self._run.finish()


def viewer_for(log: Log | None, folder: Path, config: Mapping[str, Any]) -> Viewer:
    if log == "tensorboard":
        return TensorBoard(folder / "tensorboard")
    if log == "wandb":
        return WeightsAndBiases(folder / "wandb", folder.name, config)
    return Nothing()
