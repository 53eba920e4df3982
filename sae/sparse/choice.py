"""Which coder is fastest for a shape and a density, by constants that were measured (tests/bench/coder.py --grid)."""

from __future__ import annotations

import torch

from sae.coder import Coder, Dense

from .coder import Sparse, most_by_entries

# Multiplications of the encoder's product, B · n · d, below which listing codes costs more than it saves. On one Zen 5
# core a step of `Sparse` was 0.6 times as fast as one of `Dense` at 2²², 1.0 to 1.3 at 2²⁴, 1.2 to 1.6 at 2²⁵, 2 at 2²⁶
# and 3 to 12 above, with one to five codes of a hundred active.
PRODUCT_FROM = 2**25


def choose(
    n_rows: int, d: int, n: int, *, density: float, device: torch.device, precision: torch.dtype | None = None
) -> Coder:
    """For one member. The same answer for the same arguments, so that a resumed run computes with the same coder.

    `density`: the share of codes that were active when last measured, 1 if they never were. `Sparse` notices for itself
    when codes are many, so not knowing costs little. On a GPU the answer is dense: 'triton' has not been measured.
    """
    small = n_rows * d * n < PRODUCT_FROM
    known_to_be_many = most_by_entries(precision) < density < 1
    return Dense(precision) if device.type != "cpu" or small or known_to_be_many else Sparse(precision)
