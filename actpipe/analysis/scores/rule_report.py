"""The tables of the score `rules`: explanations in words and as JSON, every statistic by budget, deciles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.ngrams import KINDS

from .interference import BINS, DECILES, lower_edges
from .rule_candidates import classes_of
from .rule_fitting import Fitted
from .rule_json import Pattern, Rule, RuleList
from .rule_lists import BUDGETS, MAIN, Floats, RuleLists
from .rule_passes import Checked, Plan
from .rule_text import in_words

EXPLANATIONS = pa.schema(
    [
        ("unit", pa.int32()),
        ("source", pa.string()),
        ("text", pa.string()),
        ("rule", pa.string()),
        ("budget", pa.int32()),
    ]
)
_STATISTICS = (
    "f1_std", "f1_std_per_mille", "rho_std", "rho_std_per_mille", "pearson", "auprc", "auprc_above_chance",
    "balanced_accuracy", "tpr", "fpr", "precision", "coverage", "bits",
)  # fmt: skip
RULES = pa.schema(
    [
        ("unit", pa.int32()),
        ("budget", pa.int32()),
        ("rules", pa.int32()),
        *((name, pa.float32()) for name in _STATISTICS),
    ]
)
_LIST = pa.list_(pa.float32(), DECILES)
INTERFERENCE = pa.schema(
    [
        ("unit", pa.int32()),
        ("lowest", _LIST),
        ("firings", pa.list_(pa.int64(), DECILES)),
        ("recall", _LIST),
        ("precision", _LIST),
    ]
)
_WEIGHT_BITS = 8


def list_bits(lists: RuleLists, distinct_tokens: int, n_units: int) -> Floats:
    """[BUDGETS, n] Σ over rules: log₂(kinds) + log₂ V for each token or class asked for + a byte for the weight.

    V: tokens that occur. What a code would save by frequent tokens being likelier is not counted.
    """
    asked = np.array([len(kind.asks) for kind in KINDS])[lists.kind]
    each = np.log2(len(KINDS)) + asked * np.log2(max(distinct_tokens, 2)) + _WEIGHT_BITS
    return np.stack(
        [np.bincount(lists.unit, weights=each * (lists.position < budget), minlength=n_units) for budget in BUDGETS]
    )


def rules_rows(by_budget: list[dict[str, Floats]], fitted: Fitted) -> pa.Table:
    n = len(fitted.firings)
    parts = []
    for budget, values in zip(BUDGETS, by_budget, strict=True):
        held = np.bincount(fitted.lists.unit[fitted.lists.position < budget], minlength=n)
        columns = {"unit": np.arange(n), "budget": np.full(n, budget), "rules": held} | values
        parts.append(pa.table([pa.array(columns[name], from_pandas=True) for name in RULES.names], RULES.names))
    return pa.concat_tables(parts).cast(RULES)


def interference_rows(checked: Checked, fpr: Floats) -> pa.Table:
    deciles, n = checked.deciles, checked.plan.n
    edges, lowest = lower_edges(), np.full((n, DECILES), np.nan)
    seen = np.diff(checked.plan.decile_of_bin.astype(np.int16), axis=1, prepend=-1) > 0
    unit, number = np.nonzero(seen)
    lowest[unit, checked.plan.decile_of_bin[unit, number]] = np.where(number == 0, 0, edges[number % BINS])
    columns = {
        "unit": pa.array(np.arange(n)),
        "lowest": _lists(lowest),
        "firings": _lists(deciles.firings),
        "recall": _lists(deciles.recall),
        "precision": _lists(deciles.precision(fpr)),
    }
    return pa.table(columns).cast(INTERFERENCE)


def _lists(values: NDArray[np.generic]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), from_pandas=True), DECILES)


def explanations(plan: Plan, told: Floats, corpus: Corpus) -> pa.Table:
    """One a unit that has been explained, with at most 16 rules."""
    fitted, members = plan.fitted, _Members(corpus)
    lists = fitted.lists
    borders = np.searchsorted(lists.unit, np.arange(len(told) + 1))
    units = np.flatnonzero(~np.isnan(told))
    texts, rules = [], []
    spans = list(pairwise(borders.tolist()))
    for unit in units.tolist():
        start, stop = spans[unit]
        held = np.arange(start, min(stop, start + BUDGETS[MAIN]))
        firing = held[fitted.weight[MAIN, held] >= fitted.threshold[MAIN, unit]]
        texts.append(in_words(lists.kind[firing], lists.fields[firing], fitted.share[firing], corpus.texts))
        rules.append(rule_list(plan, unit, held, members).to_json())
    columns = {
        "unit": pa.array(units, pa.int32()),
        "source": pa.array(["rules"] * len(units)),
        "text": pa.array(texts, pa.string()),
        "rule": pa.array(rules, pa.string()),
        "budget": pa.array(np.full(len(units), BUDGETS[MAIN]), pa.int32()),
    }
    return pa.table(columns, EXPLANATIONS)


def rule_list(plan: Plan, unit: int, held: NDArray[np.int64], members: _Members) -> RuleList:
    """The rules `held` of a unit, the one that has the say first."""
    fitted, lists = plan.fitted, plan.fitted.lists
    threshold = float(fitted.threshold[MAIN, unit])
    order = held[np.argsort(plan.execution.order[held])]
    rules = (Rule(match=members.patterns(lists, i), weight=float(fitted.weight[MAIN, i])) for i in order.tolist())
    return RuleList(
        rules=tuple(rules),
        otherwise=float(fitted.otherwise[MAIN, unit]),
        fires_from=threshold if np.isfinite(threshold) else None,
    )


class _Members:
    """Tokens of each class that occur in the text."""

    def __init__(self, corpus: Corpus) -> None:
        classes = classes_of(corpus)
        self.of: dict[int, list[int]] = {}
        if classes is not None:
            for token in np.flatnonzero(corpus.token_counts).tolist():
                self.of.setdefault(int(classes[token]), []).append(token)

    def patterns(self, lists: RuleLists, rule: int) -> tuple[Pattern, ...]:
        class0, token0, class1, token1, token2, token3 = lists.fields[rule].tolist()
        name = KINDS[lists.kind[rule]].name
        if name == "class":
            return tuple((token,) for token in self.of[class0])
        if name == "after class":
            return tuple((token, None) for token in self.of[class1])
        before = [token for token in (token3, token2, token1) if token >= 0]
        return ((*before, None if token0 < 0 else token0),)
