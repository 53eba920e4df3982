"""The next token of running text, documents end to end: what decoder-only models are trained on.

    opened      input  <|endoftext|> t₀ t₁ … t₍T−2₎      labels  t₀ t₁ … t₍T−1₎
    not opened  input  t₀ t₁ … t₍T−1₎                    labels  t₁ t₂ … t₍T₎

Windows are opened by the end-of-text token because `harvest` opens every sequence with it: in running text it stands
only between documents (a few hundred times in a library of books), and a model that hardly met it would begin every
harvested sequence with an embedding that was never trained. Every token of the text is a label once a pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from actpipe.pretraining.texts import Examples, Texts, Vocabulary

from .task import Batch, Reads, Task


@dataclass(frozen=True, kw_only=True)
class LanguageModelling(Task):
    name: ClassVar[str] = "language-modelling"
    reads: ClassVar[Reads] = "decoder"

    opened: bool = True
    """Whether every window begins with `<|endoftext|>`."""

    def n_examples(self, texts: Texts, context: int) -> int:
        return (len(texts.tokens) - (not self.opened)) // context

    def batch(self, texts: Texts, examples: Examples, vocabulary: Vocabulary, *, context: int) -> Batch:
        length = context if self.opened else context + 1
        starts = examples.index * context + [_phase(texts, int(epoch), examples.seed) for epoch in examples.epoch]
        read = np.stack([texts.window(int(start), length) for start in starts])
        if self.opened:
            read = np.insert(read, 0, vocabulary.end, axis=1)
        rows = torch.from_numpy(read)
        return {"input_ids": rows[:, :-1].contiguous(), "labels": rows[:, 1:].contiguous()}


def _phase(texts: Texts, epoch: int, seed: int) -> int:
    """Where the first window of a pass begins, so that a later pass cuts the text in other places."""
    return 0 if epoch == 0 else int(np.random.default_rng((seed, epoch, 0)).integers(len(texts.tokens)))
