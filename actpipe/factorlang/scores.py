"""Units held against factors: does some unit fire where the factor is true, and only there?

codes [rows, units] are zero or more, on rows that have a word; labels [rows, factors] are bool. A factor without a row,
or true at every row, has no score: NaN, and it does not count. `F1_std` and `coverage` after NeuronEval (2506.05774)
and at a standard prevalence of 1 %, so that a rare and a frequent factor are scored alike:

    F1_std = 2 P · TPR / (P + TPR),  P = π TPR / (π TPR + (1 − π) FPR),  π = 0.01

The score of a random unit is not zero (AP: the prevalence of the factor), and one of many units is best by chance: read
every number beside those of `oracle` and `random` (`scoreboard`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actpipe.errors import Missing, Misuse
from sae.matching import match

PREVALENCE = 0.01
COVERED = 0.8  # score from which a factor counts as found, and a unit as its
LIFT = 2.0
_NORMAL_975 = 1.96  # half-width of a 95 % interval, standard errors
PROJECTION = 0.4  # of a unit's write direction on the parent's probe, from which it can have absorbed it


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One set of units against all factors that can be scored."""

    units: int
    alive: int  # units that fire
    ap: float  # mean over factors of the best unit's average precision
    f1: float  # mean over factors of the best unit's F1_std
    mcc_f1: float  # mean F1_std of the best one-to-one pairs; a factor without a unit counts 0
    mcc: float  # the same of |correlation|, over min(units, factors) pairs
    coverage: float  # share of factors with a unit of F1_std ≥ 0.8
    factors_per_unit: float  # factors that are more than twice as frequent where the unit fires; of alive units
    unrelated_per_unit: float  # those of them that neither contain the unit's best factor nor lie in it (polysemy)
    redundancy: float  # units of F1_std ≥ 0.8 per factor that has one; NaN without any


def two_sided(codes: Tensor) -> Tensor:
    """[rows, units] of both signs → [rows, 2 units] of none: max(a, 0), then max(−a, 0)."""
    return torch.cat([codes.clamp(min=0), (-codes).clamp(min=0)], 1)


def average_precision(codes: Tensor, labels: Tensor) -> Tensor:
    """[units, factors] float64: Σ (recall gained) · precision over falling thresholds, one for equal codes."""
    _check(codes, labels)
    truth = labels.double()
    positive = truth.sum(0)
    found = torch.stack([_average_precision(column, truth, positive) for column in codes.T])
    found[:, ~scored(labels)] = torch.nan
    return found


def _average_precision(code: Tensor, truth: Tensor, positive: Tensor) -> Tensor:
    fires = code.nonzero()[:, 0]
    value, order = code[fires].sort(descending=True)
    true = truth[fires[order]].cumsum(0)
    last = torch.ones_like(value, dtype=torch.bool)  # of its threshold
    last[:-1] = value[1:] != value[:-1]
    taken = last.nonzero()[:, 0]
    # Behind the firing rows all others come at once, which is everything.
    hits = torch.cat([true[taken], positive[None]])
    chosen = torch.cat([taken + 1, taken.new_tensor([len(code)])]).double()
    gained = hits.diff(dim=0, prepend=torch.zeros_like(hits[:1]))
    return (gained * hits / chosen[:, None]).sum(0) / positive.clamp(min=1)


def standard_f1(
    codes: Tensor, labels: Tensor, *, threshold: float | Tensor = 0.0, prevalence: float = PREVALENCE
) -> Tensor:
    """[units, factors] float64: F1_std of "the unit is above its threshold", one or [units]."""
    _check(codes, labels)
    fires, truth = (codes > threshold).float(), labels.float()
    hits, fired, positive = (fires.T @ truth).double(), fires.sum(0).double()[:, None], truth.sum(0).double()
    recall = hits / positive.clamp(min=1)
    false = (fired - hits) / (len(codes) - positive).clamp(min=1)
    precision = prevalence * recall / (prevalence * recall + (1 - prevalence) * false).clamp(min=1e-300)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-300)
    f1[:, ~scored(labels)] = torch.nan
    return f1


def scored(labels: Tensor) -> Tensor:
    """[factors], whether a factor is true at some rows and not at others."""
    return labels.any(0) & ~labels.all(0)


def matched_mean(score: Tensor) -> float:
    """Mean over factors of [units, factors] under the best one-to-one assignment; factors left over count 0."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise Missing("Matching units one to one needs scipy; install it with `pip install scipy`.") from None
    known = score[:, ~score.isnan().all(0)].cpu().numpy()
    rows, columns = linear_sum_assignment(known, maximize=True)
    return float(known[rows, columns].sum() / known.shape[1])


def correlation_mcc(codes: Tensor, labels: Tensor) -> float:
    """Mean |Pearson correlation| of the best one-to-one pairs of alive units and factors."""
    columns = [x[:, keep].double() for x, keep in ((codes, codes.any(0)), (labels, scored(labels)))]
    if not columns[0].numel():
        return 0.0
    # The cosine of centred columns is their correlation.
    centred = [(x - x.mean(0)).T for x in columns]
    return match(centred[0], centred[1], absolute=True).mean


def coverage(score: Tensor, *, threshold: float = COVERED) -> float:
    """Share of the factors that some unit scores `threshold` or more on."""
    return float((_best(score) >= threshold).double().mean())


def lifted(codes: Tensor, labels: Tensor, *, lift: float = LIFT) -> Tensor:
    """[units, factors] bool: P(factor | unit fires) / P(factor) is above `lift` with 97.5 % confidence.

    The interval is that of a ratio of independent proportions on a log scale (Katz). Rows of one document are not
    independent, so it is too narrow for factors of documents (language, style, speaker).
    """
    _check(codes, labels)
    fires, truth = (codes > 0).float(), labels.float()
    hits, fired, positive = (fires.T @ truth).double(), fires.sum(0).double()[:, None], truth.sum(0).double()
    share, base = hits / fired.clamp(min=1), positive / len(codes)
    variance = (1 - share) / hits.clamp(min=1) + (1 - base) / positive.clamp(min=1)
    lower = (share / base.clamp(min=1e-300)).log() - _NORMAL_975 * variance.sqrt()
    return (lower > torch.tensor(lift).log()) & (hits > 0) & scored(labels)


def redundancy(score: Tensor, *, threshold: float = COVERED) -> float:
    """Units per covered factor: of each unit its best factor, if that is `threshold` or more."""
    value, best = score.nan_to_num(-1).max(1)
    taken = best[value >= threshold]
    return len(taken) / len(set(taken.tolist())) if len(taken) else float("nan")


def score(codes: Tensor, labels: Tensor, *, related: Tensor | None = None) -> Scores:
    """All scores. `related` [factors, factors] says which factors contain each other (`related_factors`)."""
    f1, high = standard_f1(codes, labels), lifted(codes, labels)
    alive = codes.any(0)
    best = f1.nan_to_num(-1).argmax(1)
    kin = torch.eye(labels.shape[1], dtype=torch.bool) if related is None else related
    unrelated = high & ~kin.to(high.device)[best]
    return Scores(
        units=codes.shape[1],
        alive=int(alive.sum()),
        ap=float(_best(average_precision(codes, labels)).mean()),
        f1=float(_best(f1).mean()),
        mcc_f1=matched_mean(f1),
        mcc=correlation_mcc(codes, labels),
        coverage=coverage(f1),
        factors_per_unit=float(high[alive].sum(1).double().mean()),
        unrelated_per_unit=float(unrelated[alive].sum(1).double().mean()),
        redundancy=redundancy(f1),
    )


def scoreboard(
    codes: Tensor, labels: Tensor, *, generator: torch.Generator, related: Tensor | None = None
) -> dict[str, Scores]:
    """The units; `oracle`, units that are the factors; `random`, the units with their codes shuffled over rows."""
    arms = {"units": codes, "oracle": labels.float(), "random": shuffled(codes, generator)}
    return {name: score(arm, labels, related=related) for name, arm in arms.items()}


def shuffled(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Every unit's codes in an order of its own: its density and values, without their meaning."""
    order = torch.rand(codes.shape, generator=generator).argsort(0).to(codes.device)
    return codes.gather(0, order)


def related_factors() -> Tensor:
    """[factors, factors] bool in the order of FACTORS: the same, or one contains the other."""
    from .factors import FACTORS, ancestors

    place = {factor.name: i for i, factor in enumerate(FACTORS)}
    found = torch.eye(len(FACTORS), dtype=torch.bool)
    for name, i in place.items():
        for above in ancestors(name):
            found[i, place[above]] = found[place[above], i] = True
    return found


def edges() -> list[tuple[int, int]]:
    """(parent, child) pairs of factors, by their places in FACTORS."""
    from .factors import FACTORS

    place = {factor.name: i for i, factor in enumerate(FACTORS)}
    return [(place[parent], place[factor.name]) for factor in FACTORS for parent in factor.parents]


def difference_probes(rows: Tensor, labels: Tensor) -> Tensor:
    """[factors, d]: mean of the activations [rows, d] where a factor is true less the mean where it is not."""
    truth, x = labels.double(), rows.double()
    positive = truth.sum(0)[:, None]
    sums = truth.T @ x
    return sums / positive.clamp(min=1) - (x.sum(0) - sums) / (len(rows) - positive).clamp(min=1)


def absorption(
    codes: Tensor,
    labels: Tensor,
    pairs: Sequence[tuple[int, int]],
    *,
    directions: Tensor | None = None,
    probes: Tensor | None = None,
) -> Tensor:
    """[pairs] float64: share of a child factor's rows on which the parent's main unit is silent and a child's fires.

    The main unit of a factor is that of the largest F1_std; units of the child are those whose best factor it is. With
    `directions` [units, d] and `probes` [factors, d] such a unit counts only where the cosine of its write direction
    with the parent's probe is 0.4 or more: then it has taken the parent's place. NaN where no unit covers the parent.
    """
    f1 = standard_f1(codes, labels)
    best = f1.nan_to_num(-1).argmax(1)
    fires = codes > 0
    found = torch.full((len(pairs),), torch.nan, dtype=torch.float64)
    for i, (parent, child) in enumerate(pairs):
        main = int(f1[:, parent].nan_to_num(-1).argmax())
        rows = labels[:, child]
        if not bool(rows.any()) or not bool(f1[main, parent] >= COVERED / 2):
            continue
        takes = (best == child) & (torch.arange(codes.shape[1], device=best.device) != main)
        if directions is not None and probes is not None:
            cosine = torch.nn.functional.cosine_similarity(directions.double(), probes[parent].double()[None], dim=1)
            takes &= cosine >= PROJECTION
        taken = ~fires[rows, main] & fires[rows][:, takes].any(1)
        found[i] = taken.double().mean()
    return found


def _best(score: Tensor) -> Tensor:
    """Over units, of the factors that have a score."""
    return score[:, ~score.isnan().all(0)].max(0).values


def _check(codes: Tensor, labels: Tensor) -> None:
    if codes.ndim != 2 or labels.ndim != 2 or len(codes) != len(labels) or not codes.numel():
        raise Misuse(
            f"Codes [rows, units] and labels [rows, factors] must be of the same rows, not {list(codes.shape)} and "
            f"{list(labels.shape)}."
        )
    if labels.dtype != torch.bool:
        raise Misuse(f"Labels are true or false, not {labels.dtype}; give a bool tensor.")
    if bool((codes < 0).any()):
        raise Misuse(f"Codes are zero or more, not {float(codes.min()):g}; split their signs with `two_sided`.")
