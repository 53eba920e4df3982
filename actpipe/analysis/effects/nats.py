"""Cross-entropy and KL of predictions, one number a token.

CE = −ln q(token)          KL = Σ p ln(p / q)          p without the change, q with it
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

WIDENED = 2**23  # logits turned into float32 probabilities together


class Nats(NamedTuple):
    """Both [tokens] float64, on the CPU."""

    ce: Tensor
    kl: Tensor


def nats(changed: Tensor, ln_p: Tensor, wanted: Tensor) -> Nats:
    """Logits of q and log-probabilities p [tokens, vocabulary]; `wanted` [tokens] are what came next."""
    at_once = max(1, WIDENED // changed.shape[1])
    wanted = wanted.to(changed.device)
    ce, kl = [], []
    for start in range(0, len(wanted), at_once):
        some = slice(start, start + at_once)
        ln_q = changed[some].float().log_softmax(-1)
        ce.append(-ln_q.gather(1, wanted[some, None])[:, 0].double())
        kl.append((ln_p[some].exp() * (ln_p[some] - ln_q)).sum(-1, dtype=torch.float64))
    return Nats(*(torch.cat(each).cpu() if each else torch.zeros(0, dtype=torch.float64) for each in (ce, kl)))
