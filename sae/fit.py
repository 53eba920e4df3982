"""The loop of training: batches in, one report per step out. No files, no clock, no printing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .batches import Batch
from .ensemble import Ensemble
from .step_report import StepReport


def fit(ensemble: Ensemble, batches: Iterable[Batch], *, steps: int, start: int = 0) -> Iterator[StepReport]:
    """Step `ensemble` until it has made `steps` steps; `batches` are rows [B, d] in training units, from batch `start`.

    For transcoders a batch is a pair: rows [B, d] and the rows [B, out] that they should predict.
    The caller saves, logs and stops between the reports; closing the generator stops training after the last report.
    """
    if start != ensemble.steps:
        raise ValueError(
            f"the ensemble has made {ensemble.steps} steps but the batches start at {start}; "
            f"skip the batches it has seen and pass start={ensemble.steps}"
        )
    if start >= steps:
        return
    for batch in batches:
        x, target = batch if isinstance(batch, tuple) else (batch, None)
        yield ensemble.step(x, target)
        if ensemble.steps >= steps:
            return
    raise ValueError(f"the batches ended after step {ensemble.steps} of {steps}; repeat them or ask for fewer steps")
