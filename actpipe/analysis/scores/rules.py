"""Executable explanations: which n-grams a unit fires on, and how well that predicts it on text it was not made from.

A rule list is fitted to the explain split and executed on every token of the score split, so its scores have no judge
and no sampling noise. The formulas are in rule_candidates (counts, shrinking, gain), rule_tallies (statistics),
interference (deciles) and actpipe.analysis.agreement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from .rule_candidates import LEAST_ROWS
from .rule_lists import BUDGETS, MAIN, Floats
from .rule_passes import Checked, Gathered, Plan
from .rule_report import EXPLANATIONS, INTERFERENCE, RULES, explanations, interference_rows, list_bits, rules_rows
from .rule_tallies import confusion_of, statistics, tally
from .score import Accumulator, Metric, Score, Scored, Subject

_AT_16 = "by at most 16 n-gram rules, on held-out text"
METRICS = (
    Metric("rules_f1_std", f"F1 at a prevalence of 1 % of firing predicted {_AT_16}", better="higher"),
    *(
        Metric(f"rules_f1_std_{budget}", f"the same with at most {budget} rule{'s' * (budget > 1)}", better="higher")
        for budget in BUDGETS
        if budget != BUDGETS[MAIN]
    ),
    Metric("rules_area", "area under the curve of that F1 over the logarithm of the number of rules", better="higher"),
    Metric("rules_f1_std_per_mille", f"F1 at a prevalence of 0.1 % of firing predicted {_AT_16}", better="higher"),
    Metric("rules_rho_std", f"correlation at a prevalence of 1 % with what is predicted {_AT_16}", better="higher"),
    Metric("rules_rho_std_per_mille", "the same at a prevalence of 0.1 %", better="higher"),
    Metric("rules_pearson", f"correlation over all rows with what is predicted {_AT_16}", better="higher"),
    Metric("rules_auprc", f"average precision of what is predicted {_AT_16}; chance is the density", better="higher"),
    Metric("rules_auprc_above_chance", "(AP − density) / (1 − density)", better="higher"),
    Metric("rules_balanced_accuracy", "secondary: blind to rules that are too broad"),
    Metric("rules_tpr", "share of the rows where the unit fires on which that was predicted", "share"),
    Metric("rules_fpr", "share of the rows where it is silent on which firing was predicted", "share"),
    Metric("rules_precision", "share of the predicted rows on which it fires", "share"),
    Metric("rules_coverage", "share of its activation on rows where firing was predicted", "share", better="higher"),
    Metric("rules_bits", "length of the list of at most 16 rules", "bits"),
    Metric("interference_slope", "change of the share of firings that rules predict from one decile of activation to "
           "the next: positive where weak firings mean something else", "share a decile"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rules(Score):
    name: ClassVar[str] = "rules"
    text: ClassVar[str] = "n-gram rules that predict the unit, made on one part of the text and executed on another"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "explanations": EXPLANATIONS,
        "rules": RULES,
        "interference": INTERFERENCE,
    }

    def gather(self, subject: Subject) -> Gathered:
        return Gathered(subject.n, subject.corpus, subject.seed)

    def check(self, subject: Subject, gathered: Accumulator) -> Checked:
        assert isinstance(gathered, Gathered)
        return Checked(Plan(gathered))

    def finish(
        self,
        subject: Subject,
        gathered: Accumulator,
        checked: Accumulator | None,
        found: Mapping[str, Scored],
    ) -> Scored:
        assert isinstance(checked, Checked)
        fitted, units = checked.plan.fitted, checked.units()
        rows = checked.plan.execution.owned_rows(checked.measured.patterns)
        told = np.where((fitted.firings >= LEAST_ROWS) & (units.firings > 0), 1.0, np.nan)
        bits = list_bits(fitted.lists, subject.corpus.distinct_tokens, subject.n)
        by_budget: list[dict[str, Floats]] = []
        for number in range(len(BUDGETS)):
            owned = rows[number], checked.measured.firings[number], checked.measured.total[number]
            of = tally(fitted.lists, fitted.weight[number], fitted.otherwise[number], *owned, units)
            values = statistics(of, fitted.threshold[number]) | {"bits": bits[number]}
            by_budget.append({name: each * told for name, each in values.items()})
            if number == MAIN:
                false = confusion_of(of, fitted.threshold[number])
                fpr = false.fp / np.maximum(false.fp + false.tn, 1)
        columns = _columns(by_budget) | {"interference_slope": checked.deciles.slope() * told}
        columns = {metric.name: columns[metric.name] for metric in METRICS}
        tables = {"rules": rules_rows(by_budget, fitted), "interference": interference_rows(checked, fpr)}
        if subject.control is None:  # a text for each of a control's units would be read by nobody
            tables["explanations"] = explanations(checked.plan, told, subject.corpus)
        return Scored(columns, tables, _notes(subject, told, fitted.rows, units.rows))


def _columns(by_budget: list[dict[str, Floats]]) -> dict[str, Floats]:
    columns = {f"rules_{name}": values for name, values in by_budget[MAIN].items()}
    for budget, values in zip(BUDGETS, by_budget, strict=True):
        if budget != BUDGETS[MAIN]:
            columns[f"rules_f1_std_{budget}"] = values["f1_std"]
    octaves = np.log2(BUDGETS)
    curve = np.stack([values["f1_std"] for values in by_budget])
    columns["rules_area"] = np.asarray(np.trapezoid(curve, octaves, axis=0) / (octaves[-1] - octaves[0]))
    return columns


def _notes(subject: Subject, told: Floats, explain_rows: np.ndarray, score_rows: np.ndarray) -> tuple[str, ...]:
    notes = []
    untold = int(np.isnan(told).sum())
    if untold:
        notes.append(
            f"{untold} of {subject.n} units have no score for rules: they fire fewer than {LEAST_ROWS} times where "
            "rules are made, or never where they are checked."
        )
    whole = int(explain_rows.max(initial=0))
    thinned = int((explain_rows < whole).sum())
    if thinned:
        notes.append(f"Rules of the {thinned} densest units were made from a sample of the sequences.")
    return tuple(notes)
