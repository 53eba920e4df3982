"""How sure the F1 of a unit's rules is.

Rules are executed on every token of the score split, so that no judge and no draw of windows adds noise; what is left
is that other documents would have given other rates. Firings of one document are alike: the rate of hits counts one
observation a document in which the unit fires, the rate of false alarms one a token.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PREVALENCE = 0.01  # of standard F1: docs/reference/score-tables.md
NORMAL = 1.96  # 95 %


def rules_interval(*, tpr: Floats, fpr: Floats, hits: Floats, others: Floats) -> tuple[Floats, Floats]:
    """[n] each: 95 % limits of F1 by MOVER (Zou and Donner 2008), which combines Wilson's limits of the two rates.

    `hits`, `others`: observations behind `tpr` and `fpr`. NaN where a rate is.
    """
    f1 = standard_f1(tpr, fpr)
    tpr_low, tpr_high = wilson(tpr, hits)
    fpr_low, fpr_high = wilson(fpr, others)
    down = np.hypot(f1 - standard_f1(tpr_low, fpr), f1 - standard_f1(tpr, fpr_high))
    up = np.hypot(standard_f1(tpr_high, fpr) - f1, standard_f1(tpr, fpr_low) - f1)
    return np.maximum(0.0, f1 - down), np.minimum(1.0, f1 + up)


def standard_f1(tpr: Floats, fpr: Floats) -> Floats:
    hit = PREVALENCE * tpr
    return 2 * hit / (hit + (1 - PREVALENCE) * fpr + PREVALENCE)


def wilson(rate: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Limits of a rate of `n` observations (Wilson 1927)."""
    n = np.maximum(n, 1)
    centre = (rate + NORMAL**2 / (2 * n)) / (1 + NORMAL**2 / n)
    half = NORMAL / (1 + NORMAL**2 / n) * np.sqrt(rate * (1 - rate) / n + NORMAL**2 / (4 * n**2))
    return np.clip(centre - half, 0, rate), np.clip(centre + half, rate, 1)
