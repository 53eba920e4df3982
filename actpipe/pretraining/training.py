"""The loop, and what happens between two steps: curves, validation, checkpoints, signals.

Which text a step reads is a function of the seed and the step, and a checkpoint holds the exact state, so a training
that was stopped anywhere ends with the bits of one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from actpipe.antehoc.architecture import Network
from actpipe.errors import Diverged
from actpipe.progress import Bar, Progress
from actpipe.training.interrupt import remembered_interrupt

from .checkpoint import Position, load_checkpoint, save_checkpoint
from .folder import LMFolder
from .stepper import Stepper, StepReport
from .validation import Validation

CHECKPOINT_EVERY_S = 30.0
CHECKPOINT_SHARE = 0.05  # of the time, at most: large models are saved less often
LOG_EVERY_STEPS = 10


class Training:
    def __init__(
        self,
        stepper: Stepper,
        validation: Validation,
        folder: LMFolder,
        *,
        identity: str,
        validate_every: int,
        publish: Callable[[Network], None],
    ) -> None:
        self.stepper, self.validation, self.folder = stepper, validation, folder
        self.identity, self.validate_every, self.publish = identity, validate_every, publish
        self.steps = stepper.schedule.steps
        self.is_first = stepper.processes.ranks.is_first
        self.position = Position()
        self.lines: list[dict[str, Any]] = []
        self._unchecked: list[tuple[int, StepReport]] = []
        self._saved = time.monotonic()
        self._save_took = 0.0
        self._note = ""

    def fit(self, progress: Progress) -> Position:
        """Train to the end from wherever the checkpoint is; KeyboardInterrupt, after saving, when asked to stop."""
        self._continue()
        began = time.perf_counter() - self.position.seconds
        per_step = self.stepper.config.tokens_per_step
        first = self.position.step
        with (
            remembered_interrupt() as interrupted,
            progress.bar("Training", self.steps * per_step, "tokens", done=first * per_step) as bar,
        ):
            for step in range(first, self.steps):
                report = self.advance(step, bar, stop=interrupted())
                self.position.seconds = time.perf_counter() - began
                stop = report.stop and self.position.step < self.steps
                if stop or self._is_save_due():
                    self._save()
                if stop:
                    raise KeyboardInterrupt
        self.position.seconds = time.perf_counter() - began
        self._save()
        return self.position

    def advance(self, step: int, bar: Bar, *, stop: bool = False) -> StepReport:
        """One step, looked at as far as it is due."""
        report = self.stepper.step(step, stop=stop)
        self.position.step = step + 1
        self._noted(step, report, bar)
        return report

    def _continue(self) -> None:
        """From the checkpoint, if there is one; what the curves say beyond it is cut off."""
        if self.folder.checkpoint.exists():
            stepper = self.stepper
            self.position = load_checkpoint(self.folder.checkpoint, stepper.network, stepper.optimiser, self.identity)
        self.lines = [line for line in self.folder.metrics() if line["step"] <= self.position.step]

    def _noted(self, step: int, report: StepReport, bar: Bar) -> None:
        """Numbers are read every tenth step on a GPU, where reading waits for it, and at each step on a CPU."""
        self._unchecked.append((step, report))
        done = step + 1
        validates = done % self.validate_every == 0 or done == self.steps
        logs = done % LOG_EVERY_STEPS == 0 or validates
        if logs or self.stepper.device.type == "cpu":
            self._check()
        if logs:
            self._log(step, report)
        if validates:
            self._validate()
        bar.advance(self.stepper.config.tokens_per_step, self._note)

    def _check(self) -> None:
        """Nothing that is not finite is ever saved."""
        for step, report in self._unchecked:
            numbers = {**{name: float(value) for name, value in report.losses.items()}, "gradient": float(report.norm)}
            if not all(math.isfinite(number) for number in numbers.values()):
                parts = ", ".join(f"{name} {number:.4g}" for name, number in numbers.items())
                raise Diverged(
                    f"Step {step} met a number that is not finite ({parts}). "
                    "Train again with --overwrite and a smaller --lr or a longer --warmup."
                )
        self._unchecked.clear()

    def _log(self, step: int, report: StepReport) -> None:
        names = list(report.losses)
        values = self.stepper.processes.summed(*(float(report.losses[name]) for name in names))
        losses = dict(zip(names, values, strict=True))
        self.lines.append(
            {
                "step": step + 1,
                "tokens": (step + 1) * self.stepper.config.tokens_per_step,
                "train": losses,
                "gradient": float(report.norm),
                "lr": self.stepper.schedule.at(step),
            }
        )
        validated = next((line["validation"]["ce"] for line in reversed(self.lines) if "validation" in line), None)
        self._note = f"loss {losses['ce']:.3f}" + (f", validation {validated:.3f}" if validated is not None else "")

    def _validate(self) -> None:
        found = self.validation.losses(self.stepper.network)
        self.lines[-1]["validation"] = found
        best = self.position.best_loss
        if math.isfinite(found["ce"]) and (best is None or found["ce"] < best):
            self.position.best_loss, self.position.best_step = found["ce"], self.position.step
            if self.is_first:
                self.publish(self.stepper.network)

    def _is_save_due(self) -> bool:
        apart = max(CHECKPOINT_EVERY_S, self._save_took / CHECKPOINT_SHARE)
        return self.is_first and time.monotonic() - self._saved > apart

    def _save(self) -> None:
        self._check()
        if not self.is_first:
            return
        began = time.monotonic()
        # Curves first: what they say beyond the checkpoint is cut off when continuing; missing lines would stay so.
        self.folder.write_metrics(self.lines)
        stepper = self.stepper
        save_checkpoint(self.folder.checkpoint, stepper.network, stepper.optimiser, self.position, self.identity)
        self._saved = time.monotonic()
        self._save_took = self._saved - began
