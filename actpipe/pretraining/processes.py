"""Several processes that share each step: who takes which sequences, and how gradients become one.

The batch of a step is the same however many processes there are; each takes its part of it, and gradients are added
up. So the result is that of one process, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from actpipe.errors import Misuse
from actpipe.training.ranks import Ranks


class Processes:
    def __init__(self, ranks: Ranks, device: torch.device) -> None:
        self.ranks, self.device = ranks, device
        ranks.wait_for_all()  # also opens the channel between them

    def share(self, first: int, count: int) -> tuple[int, int]:
        """First and number of this process's examples, of `count` from `first`."""
        if count % self.ranks.count:
            raise Misuse(
                f"--batch-size {count} is no multiple of the {self.ranks.count} processes, which share a step evenly."
            )
        own = count // self.ranks.count
        return first + self.ranks.rank * own, own

    def summed(self, *numbers: float) -> list[float]:
        """Each number, added up over the processes."""
        if self.ranks.count == 1:
            return list(numbers)
        import torch.distributed as dist

        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values)
        return [float(value) for value in values]

    def add_gradients(self, weights: Iterable[Tensor]) -> None:
        if self.ranks.count == 1:
            return
        import torch.distributed as dist

        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message for all
        dist.all_reduce(flat, group=self._gradients)
        for gradient, piece in zip(gradients, torch.split(flat, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))

    @cached_property
    def _gradients(self) -> Any:
        """GPUs talk to each other; everything else goes over gloo."""
        if self.device.type != "cuda":
            return None
        import torch.distributed as dist

        return dist.new_group(backend="nccl")
