"""Dead-feature accounting: for every feature of every member, the rows seen since it last fired."""

from __future__ import annotations

import torch
from torch import Tensor


def firings(codes: Tensor) -> Tensor:
    """How many of the rows fire each feature: codes [..., B, n] → int32 [..., n]."""
    # Summing booleans into int32 takes a seventh of the time of the default int64 on a CPU.
    return (codes != 0).sum(-2, dtype=torch.int32)


def idle_after(idle: Tensor, fired: Tensor, rows: int) -> Tensor:
    """Rows since the last firing, after a batch of `rows` in which `fired` counted firings. Counts whole batches."""
    return torch.where(fired > 0, 0, idle + rows)


def dead_share(idle: Tensor, dead_after: int) -> Tensor:
    """The share of features [...] that have not fired for at least `dead_after` rows: idle [..., n] → [...]."""
    return (idle >= dead_after).float().mean(-1)
