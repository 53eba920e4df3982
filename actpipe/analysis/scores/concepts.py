"""Score `concepts`: which of a bank of deterministic concepts a unit stands for, and how well.

The concept is chosen on the documents of PROFILE and measured on those of SCORE. Truth is the unit's firing and the
concept is the prediction, as for rules and judges (agreement.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from actpipe.analysis.concepts.bank import Bank
from actpipe.analysis.concepts.choice import RANKS, Choice, choose
from actpipe.analysis.concepts.counts import ConceptCounts
from actpipe.analysis.concepts.levels import ConceptLevels

from .score import Accumulator, Metric, Score, Scored, Subject

_COLUMNS = {
    "unit": pa.int32(),
    "rank": pa.int8(),
    "concept": pa.string(),
    "family": pa.string(),
    **{name: pa.float32() for name in ("f1_std", "f1", "tpr", "fpr", "lift")},
}


@dataclass(frozen=True, kw_only=True)
class Concepts(Score):
    name: ClassVar[str] = "concepts"
    text: ClassVar[str] = "Which of some 400 deterministic concepts (word lists, forms, places, repetition) a unit is."
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("concept_f1_std", "F1 of the unit's best concept at a standard prevalence of 1 %.", better="higher"),
        Metric("concept_f1_std_rare", "The same at 0.1 %.", better="higher"),
        Metric("concept_f1", "F1 of that concept at the unit's own density.", better="higher"),
        Metric("concept_rho_std", "Correlation of activation and concept at a prevalence of 1 %.", better="higher"),
        Metric("concept_ap", "Average precision of the activation for the concept, above chance.", better="higher"),
        Metric("concept_selectivity", "Standard F1 above that of the best unrelated concept.", better="higher"),
        Metric("concept_families", "Families with a concept more than twice as frequent where the unit fires."),
        Metric("concept_separation", "Jensen–Shannon distance of the activations with and without the concept."),
    )
    tables: ClassVar[Mapping[str, pa.Schema]] = {"concepts": pa.schema(list(_COLUMNS.items()))}

    def gather(self, subject: Subject) -> ConceptCounts:
        return ConceptCounts(subject.corpus, subject.n)

    def check(self, subject: Subject, gathered: Accumulator) -> ConceptLevels | None:
        assert isinstance(gathered, ConceptCounts)
        if gathered.labels is None:
            return None
        return ConceptLevels(gathered, choose(gathered).best.concept[:, 0])

    def finish(
        self,
        subject: Subject,
        gathered: Accumulator,
        checked: Accumulator | None,
        found: Mapping[str, Scored],
    ) -> Scored:
        assert isinstance(gathered, ConceptCounts)
        if gathered.labels is None:
            nothing = {metric.name: np.full(subject.n, np.nan) for metric in self.metrics}
            note = (
                "Concepts are read from the text of tokens, and the model's tokenizer is not there: no concept scores."
            )
            return Scored(nothing, notes=(note,))
        assert isinstance(checked, ConceptLevels)
        choice = choose(gathered)
        columns = {
            "concept_f1_std": choice.best.f1_std[:, 0],
            "concept_f1_std_rare": choice.best.f1_std_rare[:, 0],
            "concept_f1": choice.best.f1[:, 0],
            "concept_rho_std": checked.standard_correlation(),
            "concept_ap": checked.average_precision(),
            "concept_selectivity": choice.best.f1_std[:, 0] - choice.second.f1_std,
            "concept_families": choice.families,
            "concept_separation": checked.separation(),
        }
        note = f"{choice.covered} of {choice.possible} concepts that occur have a unit of standard F1 ≥ 0.5."
        return Scored(columns, {"concepts": _table(gathered.labels.bank, choice)}, (note,))


def _table(bank: Bank, choice: Choice) -> pa.Table:
    """A row for each of the up to five best concepts of a unit that fires in both sets."""
    fits = choice.best
    unit, rank = np.nonzero((fits.concept >= 0) & ~np.isnan(fits.f1_std))
    concept = fits.concept[unit, rank]
    names = np.array(bank.names)[concept]
    families = np.array(bank.families[0])[bank.families[1][concept]]
    values = [getattr(fits, name)[unit, rank].astype(np.float32) for name in ("f1_std", "f1", "tpr", "fpr", "lift")]
    arrays = [unit.astype(np.int32), rank.astype(np.int8), names.tolist(), families.tolist(), *values]
    return pa.table(
        [pa.array(x, kind) for x, kind in zip(arrays, _COLUMNS.values(), strict=True)], names=list(_COLUMNS)
    )


__all__ = ["RANKS", "Concepts"]
