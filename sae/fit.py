"""The loop of training: batches in, one report per step out. No files, no clock, no printing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from .ensemble import Ensemble
from .step_report import StepReport


def fit(ensemble: Ensemble, batches: Iterable[Tensor], *, steps: int, start: int = 0) -> Iterator[StepReport]:
    """Step `ensemble` until it has made `steps` steps; `batches` are rows [B, d] in training units, from batch `start`.

    The caller saves, logs and stops between the reports; closing the generator stops training after the last report.
    """
    if start != ensemble.steps:
        raise ValueError(
            f"the ensemble has made {ensemble.steps} steps but the batches start at {start}; "
            f"skip the batches it has seen and pass start={ensemble.steps}"
        )
    if start >= steps:
        return
    for x in batches:
        yield ensemble.step(x)
        if ensemble.steps >= steps:
            return
    raise ValueError(f"the batches ended after step {ensemble.steps} of {steps}; repeat them or ask for fewer steps")
