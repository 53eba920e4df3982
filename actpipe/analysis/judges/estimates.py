"""From judged windows to numbers of the whole text: weighted by ω, at standard prevalence, with intervals.

True positive rates come from the decile strata (all windows on which the unit fires, each with its ω), false positive
rates from the silent windows of the shared uniform sample, and those near a unit's meaning from its near misses:
windows on which a neighbour fires. Intervals: 2.5 … 97.5 % of a bootstrap of windows within strata.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis import agreement

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
DRAWS = 200  # of the bootstrap of one unit: its interval is read to two digits


@dataclass(frozen=True, kw_only=True)
class Measure:
    metric: str
    value: float  # NaN: undefined
    low: float = np.nan
    high: float = np.nan
    n: int = 0  # windows, pairs or trials behind it
    failed: int = 0  # of them without an answer


@dataclass(frozen=True)
class Judged:
    """Windows [n] of the population: positives of the deciles and silent windows of the uniform sample."""

    said: Floats  # probability, or a similarity
    fires: Flags
    activation: Floats  # largest of the window
    weight: Floats  # ω
    stratum: NDArray[np.int64]  # number of the stratum, for the bootstrap

    def answered(self) -> Judged:
        keep = ~np.isnan(self.said)
        return Judged(*(column[keep] for column in vars(self).values()))


def decided(said: Floats) -> Floats:
    """1 above a half, 0 below, a half for a tie; NaN stays."""
    return np.where(np.isnan(said), np.nan, (np.sign(said - 0.5) + 1) / 2)


def auroc(fires: Flags, said: Floats, weights: Floats | None = None) -> float:
    """P(said of a positive > said of a negative), ties a half; with ω of the population."""
    found = _auroc(fires, said, np.ones((len(said), 1)) if weights is None else weights[:, None])
    return float(found[0])


def _auroc(fires: Flags, said: Floats, weights: Floats) -> Floats:
    """`weights` [n, draws] → [draws]."""
    on, off = weights[fires], weights[~fires]
    gap = said[fires][:, None] - said[~fires][None, :]
    wins = np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0))
    below = on.sum(0) * off.sum(0)
    above = np.einsum("ib,ij,jb->b", on, wins, off, optimize=True)
    return np.asarray(np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0))


def detection(judged: Judged, *, seed: int, decides: bool = True) -> list[Measure]:
    """`decides`: whether `said` are probabilities. A similarity has only what depends on its order."""
    kept = judged.answered()
    lost = len(judged.said) - len(kept.said)
    ranks = {
        "auroc": lambda w: _auroc(kept.fires, kept.said, w),
        "auprc_above_chance": lambda w: _average_precision(kept, w),
        "pearson": lambda w: agreement.pearson(kept.activation[:, None], kept.said[:, None], w),
    }
    said = decided(kept.said)[:, None]
    rates = {
        "f1_std": lambda w: agreement.standard_f1(*_rates(kept, said, w)),
        "f1_std_0.1%": lambda w: agreement.standard_f1(*_rates(kept, said, w), 0.001),
        "balanced_accuracy": lambda w: agreement.balanced_accuracy(agreement.confusion(kept.fires[:, None], said, w)),
        "tpr": lambda w: _rates(kept, said, w)[0],
        "fpr": lambda w: _rates(kept, said, w)[1],
    }
    statistics: dict[str, Callable[[Floats], Floats]] = rates | ranks if decides else ranks
    counts = _resampled(kept.stratum, seed)
    found = [_measure(name, of, kept.weight, counts, lost) for name, of in statistics.items()]
    return _bounded(found, int((~kept.fires).sum())) if decides else found


def _bounded(found: list[Measure], silent: int) -> list[Measure]:
    """No bootstrap of windows without a false alarm shows one, but the text may have some: FPR up to 3 / silent."""
    value = {m.metric: m.value for m in found}
    if value["fpr"] != 0 or not silent:
        return found
    worst = agreement.rule_of_three(silent)
    lowest = {
        "f1_std": agreement.standard_f1(value["tpr"], worst),
        "f1_std_0.1%": agreement.standard_f1(value["tpr"], worst, 0.001),
        "balanced_accuracy": (value["tpr"] + 1 - worst) / 2,
    }
    lowered = [replace(m, low=float(np.fmin(m.low, lowest[m.metric]))) if m.metric in lowest else m for m in found]
    return [replace(m, high=float(np.fmax(m.high, worst))) if m.metric == "fpr" else m for m in lowered]


def _rates(kept: Judged, said: Floats, weights: Floats) -> tuple[Floats, Floats]:
    table = agreement.confusion(kept.fires[:, None], said, weights)
    return agreement.tpr(table), agreement.fpr(table)


def _average_precision(kept: Judged, weights: Floats) -> Floats:
    """agreement.average_precision, above chance, of all draws at once: `weights` [n, draws] → [draws]."""
    order = np.argsort(-kept.said, kind="stable")
    last = np.append(np.diff(kept.said[order]) != 0, True)  # of equal values
    positive = weights * kept.fires[:, None]
    hits, chosen = (np.cumsum(w[order], axis=0)[last] for w in (positive, weights))
    gained = np.diff(hits, axis=0, prepend=0.0)
    precision = np.divide(hits, chosen, out=np.zeros_like(hits), where=chosen > 0)
    total, everything = hits[-1], chosen[-1]
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw without positives: NaN
        return agreement.above_chance((gained * precision).sum(0) / total, total / everything)


def _measure(name: str, of: Callable[[Floats], Floats], weight: Floats, counts: Floats, lost: int) -> Measure:
    n = len(weight)
    if n == 0:
        return Measure(metric=name, value=np.nan, n=lost, failed=lost)
    value = float(np.asarray(of(weight[:, None]))[0])
    low, high = _interval(np.asarray(of(weight[:, None] * counts)))
    return Measure(metric=name, value=value, low=low, high=high, n=n + lost, failed=lost)


def _resampled(strata: NDArray[np.int64], seed: int) -> Floats:
    """[n, DRAWS] how often each window is drawn, with replacement within its stratum."""
    draw, counts = np.random.default_rng(seed), np.zeros((len(strata), DRAWS))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        counts[members] = draw.multinomial(len(members), np.full(len(members), 1 / len(members)), size=DRAWS).T
    return counts


def _interval(draws: Floats) -> tuple[float, float]:
    found = draws[np.isfinite(draws)]
    if len(found) < DRAWS // 2:
        return np.nan, np.nan
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def share(metric: str, wins: Floats) -> Measure:
    """Mean of answers in [0, 1] (NaN where failed) with Wilson's interval: accuracy of forced choices."""
    kept = wins[~np.isnan(wins)]
    value = float(kept.mean()) if len(kept) else np.nan
    low, high = agreement.wilson(value, len(kept))
    return Measure(
        metric=metric, value=value, low=float(low), high=float(high), n=len(wins), failed=len(wins) - len(kept)
    )


def concatenated_pearson(metric: str, truth: list[Floats], said: list[Floats], *, seed: int) -> Measure:
    """Over all tokens of all windows at once, not a mean of each window's (Bills et al. 2023); windows resampled."""
    kept = [(a, b) for a, b in zip(truth, said, strict=True) if not np.isnan(b).any()]
    lost = len(truth) - len(kept)
    if not kept:
        return Measure(metric=metric, value=np.nan, n=lost, failed=lost)
    of = np.repeat(np.arange(len(kept)), [len(a) for a, _ in kept])
    a, b = (np.concatenate(x)[:, None] for x in zip(*kept, strict=True))
    draw = np.random.default_rng(seed)
    counts = draw.multinomial(len(kept), np.full(len(kept), 1 / len(kept)), size=DRAWS).T.astype(np.float64)
    value = float(agreement.pearson(a, b)[0])
    low, high = _interval(agreement.pearson(a, b, counts[of]))
    return Measure(metric=metric, value=value, low=low, high=high, n=len(truth), failed=lost)
