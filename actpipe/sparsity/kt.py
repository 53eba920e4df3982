"""KT-score: is a unit active on the sentences of a topic more often than on others?

    KT    = k / a          a sentences on which the unit is active, k of them of the topic
    base  = K / N          N sentences, K of them of the topic: what a unit that knows nothing of the topic scores
    lift  = KT / base      below 1: below chance
    p     = P(X ≥ k),  X ~ Hypergeometric(N, K, a)      Fisher's exact test, one-sided
    q     = p corrected by Benjamini and Hochberg (1995) for all units that were tested

KT alone says little: of a unit that is active on nearly all sentences it is the base rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

Floats = NDArray[np.float64]
Counts = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class KtScores:
    """One entry a unit; NaN for a unit that is active on no sentence."""

    base_rate: float
    kt: Floats
    lift: Floats
    p_fisher: Floats
    p_binomial: Floats  # P(X ≥ k), X ~ Binomial(a, base): as if sentences were drawn anew; never smaller by much


def kt_scores(active: Counts, hits: Counts, *, sentences: int, of_topic: int) -> KtScores:
    """`active` [n] sentences on which each unit is active, `hits` [n] those of them that are of the topic."""
    from scipy.stats import binom, hypergeom

    if not 0 < of_topic < sentences:
        raise Misuse(
            f"{of_topic} of {sentences} sentences are of the topic, so nothing can be compared. Give other --kt-words, "
            "or sentences of both kinds."
        )
    base = of_topic / sentences
    with np.errstate(invalid="ignore", divide="ignore"):
        kt = np.where(active > 0, hits / active, np.nan)
    tested = active > 0
    fisher = np.where(tested, hypergeom.sf(hits - 1, sentences, of_topic, np.maximum(active, 1)), np.nan)
    binomial = np.where(tested, binom.sf(hits - 1, np.maximum(active, 1), base), np.nan)
    return KtScores(base, kt, kt / base, np.minimum(fisher, 1.0), np.minimum(binomial, 1.0))
