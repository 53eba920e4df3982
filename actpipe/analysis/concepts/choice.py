"""Which concepts fit a unit: chosen on one set of documents (CHOICE), with their agreement on another (REPORT)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis import agreement
from actpipe.analysis.agreement import Confusion, Floats

from .counts import CHOICE, REPORT, ConceptCounts

RANKS = 5  # concepts shown of a unit
LIFT = 2.0
OCCURS = 10  # rows in each set, below which a concept is not looked at
_UNITS = 2048  # compared with all concepts together: 7 MB an array


@dataclass(frozen=True, kw_only=True)
class Fits:
    """Pairs of a unit and a concept in REPORT; NaN where the pair does not exist. All arrays have one shape."""

    concept: NDArray[np.int64]  # −1: none
    f1_std: Floats
    f1_std_rare: Floats  # at a prevalence of 0.1 %
    f1: Floats
    tpr: Floats
    fpr: Floats
    lift: Floats


@dataclass(frozen=True, kw_only=True)
class Choice:
    best: Fits  # [n, RANKS], best in CHOICE first
    second: Fits  # [n], the best one in CHOICE that neither contains the first nor lies in it, nor is its twin
    families: Floats  # [n], families with a concept of lift > 2 beyond chance, in both sets
    covered: int  # concepts of which some unit has a standard F1 of half or more, the unit chosen in CHOICE
    possible: int  # concepts that occur in both sets


def choose(counts: ConceptCounts) -> Choice:
    assert counts.labels is not None
    bank = counts.labels.bank
    occurs: NDArray[np.bool_] = np.asarray(((counts.true >= OCCURS) & (counts.true < counts.rows[:, None])).all(axis=0))
    related, of_family = bank.related, bank.families[1]
    best, second, families = [], [], []
    finder = [np.full(len(occurs), -1.0), np.zeros(len(occurs))]  # of each concept: its best unit in CHOICE, in REPORT
    for start in range(0, counts.n, _UNITS):
        units = slice(start, min(start + _UNITS, counts.n))
        there, here = counts.confusion(CHOICE, units), counts.confusion(REPORT, units)
        fit = np.nan_to_num(np.where(occurs & (there.tp > 0), _fit(there), -1.0), nan=-1.0)
        ranked = np.argsort(-fit, axis=1, kind="stable")[:, :RANKS]
        ranked = np.where(np.take_along_axis(fit, ranked, 1) >= 0, ranked, -1)
        unrelated = np.where(related[ranked[:, 0]] | _twins(counts, there, ranked[:, :1]), -1.0, fit)
        runner = np.where(unrelated.max(axis=1, initial=-1) >= 0, unrelated.argmax(axis=1), -1)
        best.append(_fits(here, ranked))
        second.append(_fits(here, np.where(ranked[:, :1] >= 0, runner[:, None], -1)))
        families.append(_families(there, here, occurs, of_family))
        _improve(finder, fit, _standard(here))
    return Choice(
        best=_joined(best),
        second=_joined([_column(each) for each in second]),
        families=np.concatenate(families),
        covered=int((finder[1][occurs] >= 0.5).sum()),
        possible=int(occurs.sum()),
    )


def _fit(of: Confusion) -> Floats:
    """What the choice goes by: F1 at a prevalence of 1 %, or at the unit's own density where that is less.

    At 1 % a rare unit's F1 hardly tells `that` from a list of four such words; at its own density a dense unit's is
    high for whatever is nearly always true.
    """
    fires = of.tp + of.fn
    density = fires / (fires + of.fp + of.tn)
    return agreement.standard_f1(agreement.tpr(of), agreement.fpr(of), np.minimum(density, agreement.PREVALENCE))


def _twins(counts: ConceptCounts, there: Confusion, best: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[units, concepts] that this text does not tell from the best one: true as often, in both sets and of the unit."""
    as_often = (counts.true[:, None] == counts.true[:, best]).all(axis=0)
    found: NDArray[np.bool_] = as_often & (there.tp == np.take_along_axis(there.tp, best, 1))
    return found


def _standard(of: Confusion) -> Floats:
    return agreement.standard_f1(agreement.tpr(of), agreement.fpr(of))


def _fits(here: Confusion, concept: NDArray[np.int64]) -> Fits:
    """`concept` [units, k]; −1 where there is none."""
    exists = (concept >= 0) & (here.tp + here.fn > 0)[:, :1]
    of = Confusion(*(np.where(exists, np.take_along_axis(x, np.maximum(concept, 0), 1), np.nan) for x in here))
    tpr, fpr = agreement.tpr(of), agreement.fpr(of)
    rows = of.tp + of.fp + of.fn + of.tn
    return Fits(
        concept=concept,
        f1_std=agreement.standard_f1(tpr, fpr),
        f1_std_rare=agreement.standard_f1(tpr, fpr, 0.001),
        f1=agreement.f1(of),
        tpr=tpr,
        fpr=fpr,
        lift=tpr / np.where(of.tp + of.fp > 0, (of.tp + of.fp) / rows, np.nan),
    )


def _families(there: Confusion, here: Confusion, occurs: NDArray[np.bool_], of_family: NDArray[np.int64]) -> Floats:
    """In each family the concept of the surest lift in CHOICE, and whether both sets are sure that it is above 2."""
    chosen, reported = (np.where(occurs, _least_lift(of), -np.inf) for of in (there, here))
    found = np.zeros(len(chosen))
    for family in range(of_family.max(initial=-1) + 1):
        members = np.flatnonzero(of_family == family)
        top = members[chosen[:, members].argmax(axis=1)][:, None]
        found += (np.minimum(*(np.take_along_axis(x, top, 1) for x in (chosen, reported))) > LIFT)[:, 0]
    defined = (there.tp + there.fn > 0) & (here.tp + here.fn > 0)
    return np.where(defined[:, 0], found, np.nan)


def _least_lift(of: Confusion) -> Floats:
    """Lower end of the 95 % interval of P(concept | fires) / P(concept), on a log scale (Katz).

    Rows are taken as independent, so it is too narrow for concepts of whole texts: read the control beside it.
    """
    fires, true = of.tp + of.fn, of.tp + of.fp
    rows = fires + of.fp + of.tn
    with np.errstate(divide="ignore", invalid="ignore"):
        share, base = of.tp / fires, true / rows
        spread = np.sqrt((1 - share) / of.tp + (1 - base) / true)
        least = share / base * np.exp(-agreement.Z95 * spread)
    return np.where(of.tp > 0, least, 0.0)


def _improve(finder: list[Floats], fit: Floats, reported: Floats) -> None:
    top = fit.argmax(axis=0)[None]
    fit, reported = (np.take_along_axis(x, top, 0)[0] for x in (fit, reported))
    better = fit > finder[0]
    finder[0] = np.where(better, fit, finder[0])
    finder[1] = np.where(better, reported, finder[1])


def _column(fits: Fits) -> Fits:
    return Fits(**{name: value[:, 0] for name, value in vars(fits).items()})


def _joined(pieces: list[Fits]) -> Fits:
    return Fits(**{name: np.concatenate([vars(piece)[name] for piece in pieces]) for name in vars(pieces[0])})
