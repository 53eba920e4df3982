"""All groups of one hook, trained on the same batches; the loop, its log and its checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import sae
from actpipe.errors import Diverged
from actpipe.harvest.model import default_device
from actpipe.progress import Progress
from actpipe.store import Store
from actpipe.training.config import TrainConfig
from actpipe.training.group import Group
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
        self.device = config.device or default_device()
        statistics = store.statistics(self.hook)
        self.scaling = sae.Scaling.from_moments(
            torch.from_numpy(statistics.mean), torch.from_numpy(statistics.variance)
        )
        self.dead_after = min(int(select.sum()), rows)
        self.metrics = run.metrics()

    def fit(self, progress: Progress) -> tuple[list[sae.Ensemble], float]:
        """The trained ensembles and the seconds it took, over all sessions."""
        ensembles, seconds = self._started()
        start = min(ensemble.steps for ensemble in ensembles)
        self._forget_metrics_after(start)
        names = [name for group in self.groups for name in group.member_names]
        known_bad: set[str] = set()
        last_save, began = time.monotonic(), time.perf_counter() - seconds
        with progress.bar(
            f"Training {len(names)} dictionaries",
            self.steps * self.config.batch_size,
            "rows",
            done=start * self.config.batch_size,
        ) as bar:
            try:
                for reports in self._steps(ensembles, start):
                    bar.advance(self.config.batch_size, _note(reports))
                    self._log(ensembles, reports)
                    self._announce_frozen(reports, names, known_bad, progress)
                    if time.monotonic() - last_save > CHECKPOINT_EVERY_S:
                        self._save(ensembles, time.perf_counter() - began)
                        last_save = time.monotonic()
            finally:  # also on Ctrl-C: the next run continues here
                seconds = time.perf_counter() - began
                self._save(ensembles, seconds)
        if len(known_bad) == len(names):
            raise Diverged(f"Every member on {self.hook} met numbers that are not finite. Try a smaller --lr.")
        return ensembles, seconds

    def _started(self) -> tuple[list[sae.Ensemble], float]:
        """Ensembles from their checkpoints, or fresh ones."""
        sample: Tensor | None = None
        ensembles, seconds = [], 0.0
        for group in self.groups:
            checkpoint = self.run.checkpoint(group.name)
            if checkpoint.exists():
                ensemble, extra = sae.load_checkpoint(checkpoint, device=self.device)
                seconds = max(seconds, extra["seconds"])
            else:
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
        return ensembles, seconds

    def _sample(self) -> Tensor:
        """Rows for the biases at the start, in training units; drawn with another seed than training."""
        batch = next(
            self.store.batches(self.hook, batch_size=SAMPLE_ROWS, seed=self.config.seed + 1, select=self.select)
        )
        return self.scaling.apply(batch.x)

    def _steps(self, ensembles: list[sae.Ensemble], start: int) -> Iterator[list[sae.StepReport]]:
        stream = self.store.batches(
            self.hook,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            select=self.select,
            start=start,
        )
        scaling = self.scaling.to(self.device)
        for step, batch in enumerate(islice(stream, self.steps - start), start=start):
            x = scaling.apply(batch.x.to(self.device))
            # A group whose checkpoint is newer than another's waits until the other has caught up.
            yield [ensemble.step(x) for ensemble in ensembles if ensemble.steps == step]

    def _save(self, ensembles: list[sae.Ensemble], seconds: float) -> None:
        # Metrics first: when the run continues, lines beyond the checkpoint are cut off; missing ones would stay so.
        self.run.write_metrics(self.metrics)
        for group, ensemble in zip(self.groups, ensembles, strict=True):
            self.run.checkpoint(group.name).parent.mkdir(parents=True, exist_ok=True)
            sae.save_checkpoint(self.run.checkpoint(group.name), ensemble, extra={"seconds": seconds})

    def _forget_metrics_after(self, step: int) -> None:
        self.metrics = [line for line in self.metrics if line["hook"] != self.hook or line["step"] <= step]

    def _log(self, ensembles: list[sae.Ensemble], reports: list[sae.StepReport]) -> None:
        if len(reports) != len(ensembles):
            return
        for group, report in zip(self.groups, reports, strict=True):
            if report.step % LOG_EVERY_STEPS and report.step != self.steps:
                continue
            members = [
                {"name": name} | {key: finite(value) for key, value in report.member(i).items()}
                for i, name in enumerate(group.member_names)
            ]
            self.metrics.append(
                {
                    "hook": self.hook,
                    "width": group.width,
                    "step": report.step,
                    "rows": report.rows,
                    "lr_factor": report.lr_factor,
                    "sparsity_factor": report.sparsity_factor,
                    "members": members,
                }
            )

    def _announce_frozen(
        self, reports: list[sae.StepReport], names: list[str], known: set[str], progress: Progress
    ) -> None:
        if len(reports) != len(self.groups):
            return
        frozen = torch.cat([report.frozen for report in reports]).tolist()
        for name, stopped in zip(names, frozen, strict=True):
            if stopped and name not in known:
                known.add(name)
                progress.say(f"{name} met a number that is not finite and is frozen; the others go on.")


def _note(reports: list[sae.StepReport]) -> str:
    l0 = torch.cat([report.l0 for report in reports])
    return f"L0 {float(l0.min()):.0f} to {float(l0.max()):.0f}"
