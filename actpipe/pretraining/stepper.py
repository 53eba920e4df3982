"""One step of a training: batch → losses → gradients → weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from actpipe.antehoc.architecture import Network

from .arithmetic import arithmetic, dtype_for, is_compiled
from .config import TrainLMConfig
from .optimiser import Schedule, optimiser_for
from .processes import Processes
from .tasks import IGNORED, Batch, Task
from .texts import Examples, Texts, Vocabulary, examples_at


@dataclass(frozen=True)
class Reading:
    """Where batches come from."""

    task: Task
    texts: Texts
    vocabulary: Vocabulary
    context: int

    @property
    def n_examples(self) -> int:
        return self.task.n_examples(self.texts, self.context)

    def batch(self, examples: Examples) -> Batch:
        return self.task.batch(self.texts, examples, self.vocabulary, context=self.context)


@dataclass(frozen=True)
class StepReport:
    losses: dict[str, Tensor]  # of this process's part of the batch, weighed as in `Stepper.step`
    norm: Tensor  # of the gradients, before clipping
    stop: bool  # a process was asked to stop


class Stepper:
    def __init__(
        self, config: TrainLMConfig, network: Network, reading: Reading, processes: Processes, *, steps: int
    ) -> None:
        self.config, self.network, self.reading, self.processes = config, network, reading, processes
        self.device = processes.device
        self.dtype = dtype_for(config, self.device)
        self.schedule = Schedule.of(config, steps)
        self.optimiser = optimiser_for(network, config)
        self.weights = [weight for weight in network.parameters() if weight.requires_grad]
        self.compiled = is_compiled(config, self.device)
        self.losses: Callable[[Batch], dict[str, Tensor]] = (
            torch.compile(network.losses) if self.compiled else network.losses
        )

    def step(self, step: int, *, stop: bool = False) -> StepReport:
        """Every label of the batch weighs the same, in whichever pass or process it is: a part's mean is weighed by its
        share of the labels."""
        self.network.at(step / self.schedule.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.at(step)
        parts = [(part, int((part["labels"] != IGNORED).sum())) for part in self._parts(step)]
        labels, stops = self.processes.summed(sum(count for _, count in parts), stop)
        found: dict[str, Tensor] = {}
        for part, count in parts:
            for name, value in self._backward(part, count / max(labels, 1)).items():
                found[name] = found[name] + value if name in found else value
        self.processes.add_gradients(self.weights)
        limit = self.config.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.weights, limit)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.network.project()
        return StepReport(found, norm, stops > 0)

    def _backward(self, part: Batch, share: float) -> dict[str, Tensor]:
        on_device = {name: tensor.to(self.device, non_blocking=True) for name, tensor in part.items()}
        with arithmetic(self.dtype, self.device, compiled=self.compiled):
            losses = self.losses(on_device)
        (losses["loss"] * share).backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() * share for name, value in losses.items()}

    def _parts(self, step: int) -> Iterator[Batch]:
        """This process's sequences, as many at once as are computed together."""
        first, count = self.processes.share(step * self.config.batch_size, self.config.batch_size)
        examples = examples_at(first, count, n_examples=self.reading.n_examples, seed=self.config.seed)
        size = self.config.micro_batch or count
        for begin in range(0, count, size):
            chosen = slice(begin, begin + size)
            yield self.reading.batch(Examples(examples.index[chosen], examples.epoch[chosen], examples.seed))
