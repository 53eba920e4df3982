"""Dead-feature accounting: for every feature of every member, the rows seen since it last fired."""

from __future__ import annotations

import torch
from torch import Tensor


def idle_after(idle: Tensor, fired: Tensor, rows: int) -> Tensor:
    """Rows since the last firing, after a batch of `rows` in which `fired` counted firings. Counts whole batches."""
    return torch.where(fired > 0, 0, idle + rows)


def dead_share(idle: Tensor, dead_after: int) -> Tensor:
    """The share of features [...] that have not fired for at least `dead_after` rows: idle [..., n] → [...]."""
    return (idle >= dead_after).float().mean(-1)
