"""How well a prediction agrees with a unit's activation: one set of statistics for rules, concepts, probes and judges.

Rows (tokens or windows) run along axis 0; further axes are units or concepts and broadcast. `weights` [rows] are the ω
of a stratified sample, the inverse of each row's probability of being drawn: with them every statistic estimates that
of the whole text. None counts every row once. Undefined is NaN, never 0.

Truth is the unit: `fires` = [a > θ]. The prediction ĉ is what an explanation says of the row.

    TPR = Σω[a>θ]ĉ / Σω[a>θ]      FPR = Σω[a≤θ]ĉ / Σω[a≤θ]

F1, IoU, correlation and average precision fall with the density of a unit at the same TPR and FPR, so units of
different density are compared at a standard prevalence π₀ (1 %): the statistic of a text in which the unit fires on a
share π₀ of the rows, with the same rows where it fires and the same where it does not (`standard_weights`). Balanced
accuracy, which needs no such care, does not notice explanations that are too broad (NeuronEval, arXiv 2506.05774, its
extra-label test): never a primary number. The standard F1 notices them as far as the extra rows are many beside π₀: of
a unit that fires on 0.01 % of the rows, an explanation twice as wide still gets 0.99 at π₀ = 1 %, 0.95 at 0.1 %.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

PREVALENCE = 0.01  # π₀
Z95 = 1.959964  # half of a 95 % interval, in standard errors


class Confusion(NamedTuple):
    """Σω by what the unit does and what is predicted. A graded prediction ĉ ∈ [0, 1] counts ĉ times as predicted."""

    tp: Floats
    fp: Floats  # predicted, does not fire
    fn: Floats
    tn: Floats


class Moments(NamedTuple):
    """Σω of products of activation and prediction: all that correlation needs. Sums of parts add up."""

    n: Floats  # Σω
    a: Floats
    c: Floats
    aa: Floats
    cc: Floats
    ac: Floats


def confusion(fires: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> Confusion:
    truth, said = _floats(fires), _floats(predicted)
    w = _weights(weights, truth)
    said = said * np.ones_like(truth)
    tp, positive = (w * truth * said).sum(0), (w * truth).sum(0)
    fp, negative = (w * (1 - truth) * said).sum(0), (w * (1 - truth)).sum(0)
    return Confusion(tp, fp, positive - tp, negative - fp)


def tpr(of: Confusion) -> Floats:
    """Recall: on what share of the rows where it fires was that predicted."""
    return _ratio(of.tp, of.tp + of.fn)


def fpr(of: Confusion) -> Floats:
    return _ratio(of.fp, of.fp + of.tn)


def precision(of: Confusion) -> Floats:
    return _ratio(of.tp, of.tp + of.fp)


def f1(of: Confusion) -> Floats:
    return _ratio(2 * of.tp, 2 * of.tp + of.fp + of.fn)


def iou(of: Confusion) -> Floats:
    return _ratio(of.tp, of.tp + of.fp + of.fn)


def balanced_accuracy(of: Confusion) -> Floats:
    """Secondary: blind to explanations that are too broad."""
    return (tpr(of) + 1 - fpr(of)) / 2


def standard_f1(tpr: ArrayLike, fpr: ArrayLike, prevalence: ArrayLike = PREVALENCE) -> Floats:
    """2·P·TPR / (P + TPR) with P = π₀TPR / (π₀TPR + (1 − π₀)FPR); 0 where nothing is ever predicted."""
    share = _floats(prevalence)
    hits, false = share * _floats(tpr), (1 - share) * _floats(fpr)
    return _ratio(2 * hits, hits + false + share)  # the same, without its 0/0


def standard_phi(tpr: ArrayLike, fpr: ArrayLike, prevalence: float = PREVALENCE) -> Floats:
    """Correlation of [a > θ] with a binary prediction at prevalence π₀; NaN where the prediction is constant."""
    hit, false = _floats(tpr), _floats(fpr)
    said = prevalence * hit + (1 - prevalence) * false
    return _ratio(np.sqrt(prevalence * (1 - prevalence)) * (hit - false), np.sqrt(said * (1 - said)))


def standard_weights(fires: ArrayLike, weights: ArrayLike | None = None, prevalence: float = PREVALENCE) -> Floats:
    """Weights [rows, …] under which the unit fires on a share π₀: any statistic above, with these, is standardised."""
    truth = _floats(fires)
    w = _weights(weights, truth)
    return w * (
        truth * _ratio(np.asarray(prevalence), (w * truth).sum(0))
        + (1 - truth) * _ratio(np.asarray(1 - prevalence), (w * (1 - truth)).sum(0))
    )


def moments(activation: ArrayLike, prediction: ArrayLike, weights: ArrayLike | None = None) -> Moments:
    a, c = np.broadcast_arrays(_floats(activation), _floats(prediction))
    w = _weights(weights, a) * np.ones_like(a)
    return Moments(*((w * x).sum(0) for x in (np.ones_like(a), a, c, a * a, c * c, a * c)))


def pearson(activation: ArrayLike, prediction: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """ρ_ω = Σω(a − μ_a)(ĉ − μ_ĉ) / √(Σω(a − μ_a)² · Σω(ĉ − μ_ĉ)²); NaN where one of them does not vary."""
    a, c = np.broadcast_arrays(_floats(activation), _floats(prediction))
    w = _weights(weights, a) * np.ones_like(a)
    total = w.sum(0)
    return pearson_of(moments(a - _ratio((w * a).sum(0), total), c - _ratio((w * c).sum(0), total), w))


def pearson_of(of: Moments) -> Floats:
    """From sums, for a pass that keeps no rows. Sums of squares are trusted down to 1e-12 of themselves."""
    covariance = of.ac - _ratio(of.a * of.c, of.n)
    spread_a, spread_c = (xx - _ratio(x * x, of.n) for xx, x in ((of.aa, of.a), (of.cc, of.c)))
    varies = (spread_a > 1e-12 * of.aa) & (spread_c > 1e-12 * of.cc)
    found = _ratio(covariance, np.sqrt(np.where(varies, spread_a * spread_c, np.nan)))
    return np.asarray(np.clip(found, -1, 1))


def standard_pearson(on: Moments, off: Moments, prevalence: float = PREVALENCE) -> Floats:
    """ρ at prevalence π₀ from the moments of the rows where the unit fires and of those where it does not."""
    mixed = (prevalence * _ratio(x, on.n) + (1 - prevalence) * _ratio(y, off.n) for x, y in zip(on, off, strict=True))
    return pearson_of(Moments(*mixed))


def cosine(activation: ArrayLike, prediction: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    of = moments(activation, prediction, weights)
    return _ratio(of.ac, np.sqrt(of.aa * of.cc))


def average_precision(fires: ArrayLike, prediction: ArrayLike, weights: ArrayLike | None = None) -> float:
    """AUPRC_ω of one prediction [rows]: Σ (recall gained) · precision over falling thresholds, one for equal values."""
    truth, said = _floats(fires), _floats(prediction)
    w = _weights(weights, truth)
    order = np.argsort(-said, kind="stable")
    last = np.append(np.diff(said[order]) != 0, True)  # of its threshold
    hits, chosen = (np.cumsum(x[order])[last] for x in (w * truth, w))
    gained = np.diff(hits, prepend=0.0)
    return float(_ratio((gained * _ratio(hits, chosen, where_zero=0)).sum(), hits[-1]))


def above_chance(average_precision: ArrayLike, prevalence: ArrayLike) -> Floats:
    """(AP − π) / (1 − π): a prediction that knows nothing has the AP π of the share of rows that fire."""
    chance = _floats(prevalence)
    return _ratio(_floats(average_precision) - chance, 1 - chance)


def effective_n(weights: ArrayLike) -> float:
    """Kish: rows of equal weight that would say as much, (Σω)² / Σω²."""
    w = _floats(weights)
    return float(_ratio(w.sum() ** 2, (w * w).sum()))


def wilson(share: ArrayLike, n: ArrayLike, z: float = Z95) -> tuple[Floats, Floats]:
    """Interval of a share measured on `n` independent rows; for weighted rows give `effective_n`. NaN without rows."""
    p, rows = _floats(share), _floats(n)
    centre = _ratio(p * rows + z * z / 2, rows + z * z)
    half = _ratio(z * np.sqrt(rows * p * (1 - p) + z * z / 4), rows + z * z)
    seen = np.where(rows > 0, 1.0, np.nan)
    return np.clip(centre - half, 0, 1) * seen, np.clip(centre + half, 0, 1) * seen


def rule_of_three(n: ArrayLike) -> Floats:
    """Upper 95 % bound on a rate of which `n` rows showed no case: 3 / n, at most 1.

    2,000 silent windows without a false alarm bound the FPR at 0.0015: they support no standard F1 above 0.93.
    """
    return np.asarray(np.minimum(_ratio(np.asarray(3.0), _floats(n)), 1.0))


def _floats(x: ArrayLike) -> Floats:
    return np.asarray(x, dtype=np.float64)


def _weights(weights: ArrayLike | None, like: Floats) -> Floats:
    """[rows] for every column, or as given when they have columns of their own."""
    if weights is None:
        return np.ones((len(like),) + (1,) * (like.ndim - 1))
    w = _floats(weights)
    return w.reshape(w.shape + (1,) * (like.ndim - w.ndim))


def _ratio(above: ArrayLike, below: ArrayLike, *, where_zero: float = np.nan) -> Floats:
    top, under = np.broadcast_arrays(_floats(above), _floats(below))
    return np.asarray(np.divide(top, under, out=np.full(top.shape, float(where_zero)), where=under != 0))
