"""All trained groups that read the same rows, on the same batches; the loop, and what happens between two steps.

The order of rows is a function of the seed and the step, and a checkpoint holds the exact state of a group, so a
training that was stopped anywhere ends with the bits of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

import sae
from actpipe.errors import Misuse
from actpipe.harvest.model import resolve_device
from actpipe.progress import Bar, Progress

from .checkpoints import load, save
from .config import TrainConfig
from .curves import Curves
from .group import Group
from .interrupt import remembered_interrupt
from .reading import Reading
from .run_folder import RunFolder
from .settled import resampling_for, schedule_for, steps_for

SAMPLE_ROWS = 8192  # for the biases at the start
CHECKPOINT_EVERY_S = 30.0
CHECKPOINT_SHARE = 0.05  # of the time, at most: large ensembles are saved less often
LOG_EVERY_STEPS = 10


@dataclass
class Trainee:
    group: Group
    ensemble: sae.Ensemble

    @property
    def is_frozen(self) -> bool:
        return bool(self.ensemble.frozen.all())


class Training:
    def __init__(
        self, config: TrainConfig, reading: Reading, run: RunFolder, groups: Sequence[Group], *, rows: int
    ) -> None:
        self.config, self.reading, self.run, self.groups = config, reading, run, groups
        self.steps = steps_for(config, rows)
        self.device = resolve_device(config.device)
        self.dead_after = min(reading.n_rows, rows)
        self._saved = time.monotonic()
        self._save_took = 0.0

    def fit(self, progress: Progress, curves: Curves) -> tuple[list[Trainee], float]:
        """The trained groups, and the seconds it took over all sessions."""
        trainees, seconds = self._started()
        start = min(each.ensemble.steps for each in trainees)
        curves.begin({each.group.name: each.ensemble.steps for each in trainees})
        began = time.perf_counter() - seconds
        members = sum(len(each.ensemble) for each in trainees)
        batch = self.config.batch_size
        title = f"Training {members} dictionaries" if members > 1 else "Training a dictionary"
        with (
            remembered_interrupt() as interrupted,
            progress.bar(title, self.steps * batch, "rows", done=start * batch) as bar,
        ):
            for reports in self._reports(trainees, start):
                self._noted(reports, bar, curves, progress)
                # Only here is every member between two steps; a step that fails is not saved.
                if interrupted() or self._is_save_due():
                    self._save(trainees, curves, time.perf_counter() - began)
                if interrupted():
                    raise KeyboardInterrupt
        seconds = time.perf_counter() - began
        self._save(trainees, curves, seconds)
        return trainees, seconds

    def _started(self) -> tuple[list[Trainee], float]:
        """From their checkpoints, or fresh."""
        sample: Tensor | None = None
        trainees, seconds = [], 0.0
        for group in self.groups:
            found = load(self.run, group, self.reading.store, self.device)
            if found is None:
                sample = self._sample() if sample is None else sample
                found = self._fresh(group, sample), 0.0
            trainees.append(Trainee(group, found[0]))
            seconds = max(seconds, found[1])
        return trainees, seconds

    def _fresh(self, group: Group, sample: Tensor) -> sae.Ensemble:
        assert isinstance(group.architecture, sae.Trained)
        try:
            return sae.Ensemble.create(
                group.architecture,
                [member.settings for member in group.members],
                d=group.d,
                width=int(group.members[0].settings["width"]),
                out=group.out,
                sample=sample,
                schedule=schedule_for(self.config, self.steps),
                dead_after=self.dead_after,
                resampling=resampling_for(self.config, self.steps),
                coder=self.config.coder,
                precision=self.config.precision,
                device=self.device,
            )
        except ValueError as error:
            raise Misuse(f"{group.name} cannot be trained: {error}.") from None

    def _sample(self) -> Tensor:
        """Rows for the biases at the start; drawn with another seed than training."""
        return self.reading.sample(SAMPLE_ROWS, seed=self.config.seed + 1)

    def _reports(self, trainees: list[Trainee], start: int) -> Iterator[list[tuple[Group, sae.StepReport]]]:
        """One entry a batch: the groups that took it, with their reports. Ends early when nothing moves any more."""
        if all(each.is_frozen for each in trainees):
            return
        stream = self.reading.batches(batch_size=self.config.batch_size, seed=self.config.seed, start=start)
        for step, (batch, _) in enumerate(islice(stream, self.steps - start), start=start):
            x, target = self.reading.scaled(batch, self.device)
            # A group whose checkpoint is newer than another's waits until the other has caught up.
            due = [each for each in trainees if each.ensemble.steps == step]
            yield [(each.group, each.ensemble.step(x, target)) for each in due]
            # Only after a step that was noted, so that every member that froze has been named.
            if (step + 1) % LOG_EVERY_STEPS == 0 and all(each.is_frozen for each in trainees):
                return

    def _noted(self, reports: list[tuple[Group, sae.StepReport]], bar: Bar, curves: Curves, progress: Progress) -> None:
        """Log every tenth step. Reading a number waits for the device, so the steps between are not looked at."""
        due = [(g, r) for g, r in reports if r.step % LOG_EVERY_STEPS == 0 or r.step == self.steps]
        note = ""
        if due:
            for name in curves.add(due):
                progress.say(f"{name} met a number that is not finite and is frozen; the others go on.")
            note = curves.note()
        bar.advance(self.config.batch_size, note)
        if due:
            bar.show(curves.table())

    def _is_save_due(self) -> bool:
        apart = max(CHECKPOINT_EVERY_S, self._save_took / CHECKPOINT_SHARE)
        return time.monotonic() - self._saved > apart

    def _save(self, trainees: list[Trainee], curves: Curves, seconds: float) -> None:
        began = time.monotonic()
        # Curves first: when the run continues, what is beyond the checkpoint is cut off; missing lines would stay so.
        curves.save()
        for each in trainees:
            save(self.run, each.group, each.ensemble, self.reading.store, seconds=seconds)
        self._saved = time.monotonic()
        self._save_took = self._saved - began
