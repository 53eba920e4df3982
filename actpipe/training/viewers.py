"""Copies of the curves for TensorBoard and Weights & Biases, whose packages are loaded only when asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from actpipe.errors import Missing, Misuse

from .config import Log


class Viewer(Protocol):
    def add(self, line: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl."""

    def close(self) -> None: ...


# From the run folder and its configuration.
MakeViewer: TypeAlias = Callable[[Path, Mapping[str, Any]], Viewer]


class Nothing:
    def add(self, line: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class TensorBoard:
    """Event files in the run folder: `tensorboard --logdir RUN/tensorboard`. A run a member, a tag a number."""

    def __init__(self, open_writer: Callable[..., Any], folder: Path) -> None:
        self._open, self._folder = open_writer, folder
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
    """One run; a number of a member is called `fvu/<member>`. WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, run: Any) -> None:
        self._run = run
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


def viewer_maker(log: Log | None) -> MakeViewer:
    """What will open the viewer once there is a run; a missing package is said now."""
    if log is None:
        return lambda folder, config: Nothing()
    try:
        return _tensorboard() if log == "tensorboard" else _wandb()
    except ImportError:
        raise Missing(f"--log {log} needs a package: pip install 'actpipe[{log}]'.") from None


def _tensorboard() -> MakeViewer:
    from torch.utils.tensorboard import SummaryWriter

    return lambda folder, config: TensorBoard(SummaryWriter, folder / "tensorboard")


def _sign_in(wandb: Any) -> None:
    """Now, and not when the run has begun."""
    try:
        known = wandb.login()
    except wandb.errors.Error:
        known = False
    if not known:
        raise Misuse(
            "--log wandb needs an account: run `wandb login` once, or set WANDB_MODE=offline to keep the curves here."
        )


def _wandb() -> MakeViewer:
    import wandb

    if os.environ.get("WANDB_MODE", "online") in ("online", "run"):
        _sign_in(wandb)

    def opened(folder: Path, config: Mapping[str, Any]) -> Viewer:
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        run = wandb.init(project="actpipe", name=folder.name, dir=str(folder / "wandb"), config=dict(config))
        return WeightsAndBiases(run)

    return opened
