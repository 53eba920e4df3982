"""Documents of two parts → encoder-decoder batches: the first is read, the second said. Padding lies on the right."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from actpipe.pretraining.texts import Examples, Integers, Texts, Vocabulary

from .task import IGNORED, PAD, Batch

LENGTH_STEP = 16  # sequences are padded to a multiple of it: few shapes, for the sake of compiled code


def batch_of_pairs(texts: Texts, examples: Examples, vocabulary: Vocabulary, *, context: int) -> Batch:
    """Both parts with their end; what is longer than `context` is cut, and a target that is cut has no end."""
    pad = vocabulary.special[PAD]
    sources, targets = (
        [texts.part(int(document), column)[:context] for document in examples.index] for column in (0, 1)
    )
    read, labels = _padded(sources, pad, context), _padded(targets, IGNORED, context)
    lengths = torch.tensor([len(source) for source in sources])
    return {
        "input_ids": read,
        "attention_mask": (torch.arange(read.shape[1]) < lengths[:, None]).long(),
        "decoder_input_ids": decoder_inputs(labels, pad),
        "labels": labels,
    }


def decoder_inputs(labels: Tensor, pad: int) -> Tensor:
    """labels [B, T] → what the decoder has read before each: padding opens it, and stands where no label counts."""
    before = torch.cat([torch.full_like(labels[:, :1], pad), labels[:, :-1]], dim=1)
    return before.masked_fill(before == IGNORED, pad)


def _padded(rows: list[Integers], value: int, context: int) -> Tensor:
    """[B, longest, rounded up]"""
    longest = max(map(len, rows))
    length = min(-(-longest // LENGTH_STEP) * LENGTH_STEP, context)
    return torch.from_numpy(np.stack([np.pad(row, (0, length - len(row)), constant_values=value) for row in rows]))
