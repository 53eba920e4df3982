"""One pass over the rows of a hook: every block is read once and shown to every consumer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from actpipe.progress import Progress
from actpipe.store import Store

from .corpus import Corpus
from .rows import Rows

_CODES_PER_BLOCK = 1 << 23  # floats, 32 MiB: blocks stay near the caches and memory does not grow with the width


class Consumer(Protocol):
    def consume(self, rows: Rows, x: Tensor) -> None: ...


def sweep(
    store: Store,
    hook: str,
    corpus: Corpus,
    consumers: Sequence[Consumer],
    *,
    widest: int,
    center: Tensor | None = None,
    device: torch.device,
    progress: Progress,
    title: str,
) -> None:
    """`widest`: the most codes of a row that a consumer makes; `center` [d] is subtracted from every row."""
    total = sum(stop - start for start, stop in corpus.ranges) * store.context
    with torch.inference_mode(), progress.bar(title, total, "tokens") as bar:
        for rows in corpus.blocks(max(_CODES_PER_BLOCK // widest, 1)):
            x = store.read(hook, rows.first, rows.first + len(rows.tokens)).to(device).float()
            if center is not None:
                x.sub_(center)  # what was read belongs to this loop
            for consumer in consumers:
                consumer.consume(rows, x)
                bar.advance(len(rows.tokens) / len(consumers))
