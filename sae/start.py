"""Where training starts: random directions, and biases that make every feature fire on a small share of the rows.

With zero biases half of all codes fire at first, and hundreds of steps go into pushing them down.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def random_directions(width: int, d: int, generator: torch.Generator) -> Tensor:
    """[width, d], uniform on the unit sphere."""
    gaussian = torch.randn(width, d, generator=generator)
    return normalize(gaussian, dim=1)


def sparse_bias(sample: Tensor, W_enc: Tensor, share: float) -> Tensor:
    """The biases [n] with which every row of W_enc [n, d] fires on `share` of the rows of `sample` [N, d].

    Exactly round(share · N) rows fire: the threshold lies midway between two neighbouring pre-activations.
    """
    if not bool(torch.isfinite(sample).all()):
        raise ValueError("the sample of rows contains NaN or infinity; look for damaged or overflowing activations")
    return bias_for_share(W_enc @ sample.to(W_enc).T, share)


def bias_for_share(pre_activations: Tensor, share: float) -> Tensor:
    """The biases [n] that lift exactly round(share · N) of the N entries of each row [n, N] above zero."""
    n_rows = pre_activations.shape[1]
    n_fire = round(share * n_rows)
    if not 1 <= n_fire < n_rows:
        raise ValueError(
            f"no threshold lets a feature fire on {share:.3g} of {n_rows} sample rows; "
            f"give a share between 0 and 1 and at least {max(2, round(1 / share) if share > 0 else 2)} rows"
        )
    largest = pre_activations.topk(n_fire + 1, dim=1).values
    return -(largest[:, n_fire - 1] + largest[:, n_fire]) / 2
