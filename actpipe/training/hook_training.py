"""All groups of one hook, trained on the same batches; the loop, its log and its checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

import sae
from actpipe.errors import Diverged, Misuse
from actpipe.harvest.model import resolve_device
from actpipe.progress import Progress
from actpipe.store import Store
from actpipe.training.config import TrainConfig
from actpipe.training.group import Group
from actpipe.training.interrupt import remembered_interrupt
from actpipe.training.run_folder import RunFolder, finite

SAMPLE_ROWS = 8192  # for the biases at the start
CHECKPOINT_EVERY_S = 30.0
LOG_EVERY_STEPS = 10


class HookTraining:
    def __init__(
        self,
        config: TrainConfig,
        store: Store,
        run: RunFolder,
        groups: list[Group],
        rows: int,
        select: NDArray[np.bool_],
    ) -> None:
        self.config, self.store, self.run, self.groups = config, store, run, groups
        self.hook = groups[0].hook
        self.select = select
        self.steps = math.ceil(rows / config.batch_size)
        self.device = resolve_device(config.device)
        statistics = store.statistics(self.hook)
        if not float(statistics.variance.sum()) > 0:
            raise Misuse(f"The rows of {self.hook} are all the same: there is nothing to learn. Choose another --hook.")
        self.scaling = sae.Scaling.from_moments(
            torch.from_numpy(statistics.mean), torch.from_numpy(statistics.variance)
        )
        self.dead_after = min(int(select.sum()), rows)
        self.metrics = run.metrics()
        self.named: set[str] = set()  # frozen members that were announced

    def fit(self, progress: Progress) -> tuple[list[sae.Ensemble], float]:
        """The trained ensembles and the seconds it took, over all sessions."""
        ensembles, seconds = self._started(progress)
        self._forget_metrics_beyond(ensembles)
        start = min(ensemble.steps for ensemble in ensembles)
        last_save, began = time.monotonic(), time.perf_counter() - seconds
        n_members = sum(len(ensemble) for ensemble in ensembles)
        rows, done = self.steps * self.config.batch_size, start * self.config.batch_size
        with (
            remembered_interrupt() as interrupted,
            progress.bar(f"Training {n_members} dictionaries", rows, "rows", done=done) as bar,
        ):
            for reports in self._steps(ensembles, start):
                bar.advance(self.config.batch_size, self._reported(reports, progress))
                # Only here is every member between two steps; a step that fails is not saved.
                if interrupted() or time.monotonic() - last_save > CHECKPOINT_EVERY_S:
                    self._save(ensembles, time.perf_counter() - began)
                    last_save = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt
        seconds = time.perf_counter() - began
        self._save(ensembles, seconds)
        if all(bool(ensemble.frozen.all()) for ensemble in ensembles):
            raise Diverged(
                f"Every dictionary on {self.hook} met numbers that are not finite. "
                "Train again with --overwrite and a smaller --lr."
            )
        return ensembles, seconds

    def _started(self, progress: Progress) -> tuple[list[sae.Ensemble], float]:
        """Ensembles from their checkpoints, or fresh ones."""
        sample: Tensor | None = None
        ensembles, seconds = [], 0.0
        for group in self.groups:
            ensemble, spent = self._from_checkpoint(group, progress)
            if ensemble is None:
                sample = self._sample() if sample is None else sample
                ensemble = sae.Ensemble.create(
                    sae.get_architecture(self.config.architecture)(),
                    group.members,
                    d=group.d,
                    width=group.width,
                    sample=sample,
                    schedule=sae.Schedule.over(self.steps),
                    dead_after=self.dead_after,
                    device=self.device,
                )
            ensembles.append(ensemble)
            seconds = max(seconds, spent)
        return ensembles, seconds

    def _from_checkpoint(self, group: Group, progress: Progress) -> tuple[sae.Ensemble | None, float]:
        path = self.run.checkpoint(group.name)
        if not path.exists():
            return None, 0.0
        try:
            ensemble, extra = sae.load_checkpoint(path, device=self.device)
        except (ValueError, OSError, SafetensorError) as error:
            progress.say(f"The checkpoint {path} is damaged ({error}); this group starts anew.")
            return None, 0.0
        return ensemble, float(extra["seconds"])

    def _sample(self) -> Tensor:
        """Rows for the biases at the start, in training units; drawn with another seed than training."""
        batch = next(
            self.store.batches(self.hook, batch_size=SAMPLE_ROWS, seed=self.config.seed + 1, select=self.select)
        )
        return self.scaling.apply(batch.x)

    def _steps(self, ensembles: list[sae.Ensemble], start: int) -> Iterator[list[tuple[Group, sae.StepReport]]]:
        """One entry a batch: the groups that took it, with their reports."""
        stream = self.store.batches(
            self.hook,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            select=self.select,
            start=start,
        )
        scaling = self.scaling.to(self.device)
        pairs = list(zip(self.groups, ensembles, strict=True))
        for step, batch in enumerate(islice(stream, self.steps - start), start=start):
            x = scaling.apply(batch.x.to(self.device))
            # A group whose checkpoint is newer than another's waits until the other has caught up.
            yield [(group, ensemble.step(x)) for group, ensemble in pairs if ensemble.steps == step]

    def _save(self, ensembles: list[sae.Ensemble], seconds: float) -> None:
        # Metrics first: when the run continues, lines beyond the checkpoint are cut off; missing ones would stay so.
        self.run.write_metrics(self.metrics)
        for group, ensemble in zip(self.groups, ensembles, strict=True):
            self.run.checkpoint(group.name).parent.mkdir(parents=True, exist_ok=True)
            sae.save_checkpoint(self.run.checkpoint(group.name), ensemble, extra={"seconds": seconds})

    def _forget_metrics_beyond(self, ensembles: list[sae.Ensemble]) -> None:
        """Drop lines of steps that will be made again."""
        made = {group.width: ensemble.steps for group, ensemble in zip(self.groups, ensembles, strict=True)}
        self.metrics = [m for m in self.metrics if m["hook"] != self.hook or m["step"] <= made[m["width"]]]

    def _reported(self, reports: list[tuple[Group, sae.StepReport]], progress: Progress) -> str:
        """Log every tenth step, name members that froze, and return what to show beside the bar.

        Reading a number waits for the device, so the steps between are not looked at.
        """
        shown: list[float] = []
        for group, report in reports:
            if report.step % LOG_EVERY_STEPS and report.step != self.steps:
                continue
            shown += report.l0.tolist()
            self.metrics.append(_line(group, report))
            for name, frozen in zip(group.member_names, report.frozen.tolist(), strict=True):
                if frozen and name not in self.named:
                    self.named.add(name)
                    progress.say(f"{name} met a number that is not finite and is frozen; the others go on.")
        return f"L0 {min(shown):.0f} to {max(shown):.0f}" if shown else ""


def _line(group: Group, report: sae.StepReport) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "hook": group.hook,
        "width": group.width,
        "step": report.step,
        "rows": report.rows,
        "lr_factor": report.lr_factor,
        "sparsity_factor": report.sparsity_factor,
        "members": [
            {"name": name} | {key: finite(value) for key, value in report.member(i).items()}
            for i, name in enumerate(group.member_names)
        ],
    }
