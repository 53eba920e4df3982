"""Cross-entropy on text that was not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from actpipe.antehoc.architecture import Network
from actpipe.harvest.model import LanguageModel
from actpipe.progress import Progress

from .arithmetic import arithmetic
from .stepper import Reading
from .tasks import IGNORED, Batch
from .texts import examples_in_order

SEED = 0  # of the random choices inside validation examples, the same for every training
TOKENS_AT_ONCE = 8192
MOST_TOKENS = 1_000_000  # of the final loss


class Loss(NamedTuple):
    loss: float
    """nats a label"""
    tokens: int
    """labels that counted"""

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))


@dataclass(frozen=True)
class Validation:
    """The curve: the same batches each time, in the arithmetic of the training. Every process computes all of it."""

    reading: Reading
    tokens: int
    dtype: torch.dtype
    device: torch.device

    def losses(self, network: Network) -> dict[str, float]:
        """Mean of each part over the labels, at the form that the network has when its training is over."""
        network.at(1.0)
        network.eval()
        sums: dict[str, float] = {}
        labels = 0
        for batch in batches(self.reading, self.tokens):
            count = n_labels(batch)
            with torch.no_grad(), arithmetic(self.dtype, self.device):
                found = network.losses({name: tensor.to(self.device) for name, tensor in batch.items()})
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value) * count
            labels += count
        network.train()
        return {name: value / labels for name, value in sums.items()}


def batches(reading: Reading, tokens: int) -> Iterator[Batch]:
    """The first examples, about as many tokens as asked for."""
    examples = max(1, min(reading.n_examples, tokens // reading.context))
    size = max(1, TOKENS_AT_ONCE // reading.context)
    for first in range(0, examples, size):
        yield reading.batch(examples_in_order(first, min(size, examples - first), seed=SEED))


def n_labels(batch: Batch) -> int:
    return int((batch["labels"] != IGNORED).sum())


def loss_of(model: LanguageModel, reading: Reading, progress: Progress, *, tokens: int = MOST_TOKENS) -> Loss:
    """Of any model that predicts tokens, in its own arithmetic."""
    total, labels = 0.0, 0
    expected = max(1, min(reading.n_examples, tokens // reading.context)) * reading.context
    with progress.bar("Evaluating", expected, "tokens") as bar:
        for batch in batches(reading, tokens):
            total += _sum(lambda inputs: model.module(**inputs).logits, batch, model.device)
            labels += n_labels(batch)
            bar.advance(batch["labels"].shape[0] * reading.context)
    return Loss(total / labels, labels)


@torch.no_grad()
def _sum(logits: Callable[[Batch], Tensor], batch: Batch, device: torch.device) -> float:
    inputs = {name: tensor.to(device) for name, tensor in batch.items()}
    labels = inputs.pop("labels")
    found = logits(inputs).flatten(0, 1).float()
    return float(F.cross_entropy(found, labels.flatten(), ignore_index=IGNORED, reduction="sum"))
