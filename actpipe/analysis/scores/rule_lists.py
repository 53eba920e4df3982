"""The rules of all units as flat arrays, and what they say of every row without looking at rows × units.

The rules of a unit stand in an order (`Execution.order`) and the first that matches a row owns it: rules of two tokens
and more, the longest first; then the others, those of stronger activation first, but none before one that it contains.
How many rows a rule owns is a matter of the text alone: patterns on the row's own token contain each other or share
nothing, and so do patterns on what stands before; where one of each meet, their intersection is a pattern again. So the
counts of a few patterns give all, and units only matter where they fire.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.analysis.ngrams import KINDS, N_AFTER, N_SEQUENCES, Fields, asks_of, keys, shape
from actpipe.analysis.ngrams_order import ByRow
from actpipe.store.hashing import Words

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BUDGETS = (1, 4, 16, 32)  # rules
MOST_RULES = BUDGETS[-1]
MAIN = BUDGETS.index(16)  # the budget of the primary metric, of the text and of interference
_SHAPES = tuple(sum(1 << column for column in kind.asks) for kind in KINDS)
_A_BUCKET = 2  # keys, about: a bucket is found without a search and then read through


class RuleLists(NamedTuple):
    """[K] in order of (unit, position)."""

    unit: Ints
    position: Ints  # 0 for the rule that was chosen first
    kind: Ints
    fields: Fields  # [K, 6]
    trust: Floats  # λ of Witten and Bell, rule_candidates
    alone: Floats  # mean activation that the rule was chosen for, comparable within a unit


class Known(NamedTuple):
    """The patterns of one shape, by key. Keys are random words, so their first bits tell where to look."""

    keys: Words  # increasing
    shift: np.uint64  # of a key, to the number of its bucket
    buckets: Ints  # [buckets + 1] where each begins
    first: int  # number of the first pattern

    @classmethod
    def of(cls, keys: Words, first: int) -> Known:
        bits = max(1, (len(keys) // _A_BUCKET).bit_length())
        shift = np.uint64(64 - bits)
        borders = np.arange(1 << bits, dtype=np.uint64) << shift
        return cls(keys, shift, np.append(np.searchsorted(keys, borders), len(keys)), first)


class Patterns:
    """Numbers for patterns, by shape."""

    def __init__(self, fields: Fields) -> None:
        shapes = shape(fields)
        self.of = np.zeros(len(fields), dtype=np.int64)  # the number of each pattern given
        self.known: dict[int, Known] = {}
        self.n = 0
        for each in np.unique(shapes).tolist():
            here = shapes == each
            words, number = np.unique(keys(fields[here], asks_of(each)), return_inverse=True)
            self.known[each] = Known.of(words, self.n)
            self.of[here] = self.n + number
            self.n += len(words)

    def on(self, rows: Fields) -> dict[int, NDArray[np.int32]]:
        """By shape, the number of the pattern that stands on each row; −1 where none does that was asked for."""
        return {each: _numbers(keys(rows, asks_of(each)), *known) for each, known in self.known.items()}


@compiled
def _numbers(asked: Any, known: Any, shift: Any, buckets: Any, first: int) -> Any:
    found = np.full(len(asked), -1, np.int32)
    for i in range(len(asked)):
        bucket = np.int64(asked[i] >> shift)
        for place in range(buckets[bucket], buckets[bucket + 1]):
            if known[place] == asked[i]:
                found[i] = first + place
    return found


class Owned(NamedTuple):
    firings: Ints  # [budgets, K] owned by each rule
    total: Floats  # [budgets, K] Σa of them
    rule: NDArray[np.int32]  # [m] the rule that owns each firing with one of the budgets, −1 where none does


class Execution:
    """Made once for lists of rules; never changed by what is measured with it."""

    def __init__(self, lists: RuleLists, n_units: int, budgets: tuple[int, ...] = BUDGETS) -> None:
        self.lists, self.n_units, self.budgets = lists, n_units, budgets
        starts = np.searchsorted(lists.unit, np.arange(n_units + 1))
        # By kind [K]: the rule of that kind that contains the rule; −1 where none.
        self.container, self.across, first, second = _relations(starts, lists.kind, lists.fields, len(KINDS), N_AFTER)
        self.meetings = first, second  # rules on the own token and rules on what stands before, that can meet
        both = np.maximum(lists.fields[first], lists.fields[second])
        self.patterns = Patterns(np.concatenate([lists.fields, both]))
        self.pattern = self.patterns.of[: len(lists.unit)]  # of each rule
        self.meeting = self.patterns.of[len(lists.unit) :]
        self.order = self._order()  # [K] place of each rule among all; only places within a unit are compared
        rule = np.argsort(self.pattern, kind="stable")
        since = np.searchsorted(np.array(budgets), lists.position[rule], side="right")
        self._of_pattern = np.searchsorted(self.pattern[rule], np.arange(self.patterns.n + 1))
        self._rules = lists.unit[rule].astype(np.int32), self.order[rule].astype(np.int32), since.astype(np.int32)
        self._by_order = np.argsort(self.order).astype(np.int32)

    def __deepcopy__(self, memo: object) -> Execution:
        return self

    def row_counts(self, on: dict[int, NDArray[np.int32]]) -> Ints:
        """[patterns] on how many of these rows each stands."""
        found = [numbers[numbers >= 0] for numbers in on.values()]
        return np.bincount(np.concatenate(found or [np.zeros(0, np.int32)]), minlength=self.patterns.n)

    def owned(self, on: dict[int, NDArray[np.int32]], firings: ByRow, told: int) -> Owned:
        """Of `firings` on the rows that `on` speaks of; `told`: the number of the budget of `Owned.rule`."""
        numbers = [on[each] for each in _SHAPES if each in on]
        which = np.stack(numbers) if numbers else np.zeros((0, len(firings.starts) - 1), np.int32)
        rules = self._of_pattern, *self._rules, self._by_order
        counts, total, rule = _owned(which, *rules, *firings, self.n_units, len(self.budgets), told)
        return Owned(counts.T, total.T, rule)

    def owned_rows(self, counts: Ints) -> Ints:
        """[budgets, K] on how many rows each rule speaks, from `row_counts`; 0 for rules beyond the budget."""
        return np.stack([self._owned_rows(counts, budget) for budget in self.budgets])

    def _owned_rows(self, counts: Ints, budget: int) -> Ints:
        n_rules = len(self.lists.unit)
        parent = self.parents(budget)
        rows = np.where(self.lists.position < budget, counts[self.pattern], 0)
        rows -= _taken(parent, rows, n_rules)
        first, second, shared = self._shared(counts, budget, parent)
        loser = np.where(self.order[first] < self.order[second], second, first)
        lost: Ints = np.bincount(loser, weights=shared, minlength=n_rules).astype(np.int64)
        return rows - lost

    def _shared(self, counts: Ints, budget: int, parent: Ints) -> tuple[Ints, Ints, Ints]:
        """Pairs of rules of both sides, each the narrowest of its side on `shared` rows."""
        first, second = self.meetings
        within = (self.lists.position[first] < budget) & (self.lists.position[second] < budget)
        first, second = first[within], second[within]
        shared = counts[self.meeting[within]]
        pair = first * len(self.order) + second  # increasing
        for one, other in ((parent[first], second), (first, parent[second])):
            has = np.flatnonzero((one >= 0) & (other >= 0))
            around = np.searchsorted(pair, one[has] * len(self.order) + other[has])
            taken = np.bincount(around, weights=shared[has], minlength=len(pair))
            shared = shared - taken.astype(np.int64)
        return first, second, shared

    def parents(self, budget: int) -> Ints:
        """[K] the narrowest rule on the same side that contains the rule; −1 where none."""
        return self._narrowest(self.container, budget)

    def fallbacks(self, budget: int) -> Ints:
        """[K] of all rules that contain the rule the one that would speak in its place; −1 where none."""
        one, other = self.parents(budget), self._narrowest(self.across, budget)
        order = np.append(self.order, len(self.order))  # −1 reads the last
        return np.where(order[one] < order[other], one, other)

    def _narrowest(self, by_kind: Ints, budget: int) -> Ints:
        found = np.full(len(self.lists.unit), -1)
        for rules in by_kind:  # the widest first, so the narrowest stays
            here = rules >= 0
            here[here] = self.lists.position[rules[here]] < budget
            found = np.where(here, rules, found)
        return found

    def _order(self) -> Ints:
        strength = self.lists.alone
        for rules in self.container:
            strength = np.where(rules >= 0, np.maximum(strength, self.lists.alone[rules]), strength)
        sequence = self.lists.kind >= len(KINDS) - N_SEQUENCES
        by = np.lexsort((-self.lists.kind, np.where(sequence, 0, -strength), ~sequence, self.lists.unit))
        order = np.empty_like(by)
        order[by] = np.arange(len(by))
        return order


def _taken(parent: Ints, rows: Ints, n: int) -> Ints:
    """[n] rows of the rules directly within each."""
    inner = np.flatnonzero(parent >= 0)
    return np.bincount(parent[inner], weights=rows[inner], minlength=n).astype(np.int64)


@compiled
def _owned(
    on: Any,
    of_pattern: Any,
    rule_unit: Any,
    rule_order: Any,
    rule_since: Any,
    by_order: Any,
    starts: Any,
    unit: Any,
    value: Any,
    n_units: int,
    n_budgets: int,
    told: int,
) -> Any:
    """Rules that stand on a row are noted at their units, then the row's firings look there. `rule_…` are in order of
    patterns; a rule counts from the budget `since` on."""
    n_rules = len(by_order)
    counts, total = np.zeros((n_rules, n_budgets), np.int64), np.zeros((n_rules, n_budgets))
    owner = np.full(len(unit), -1, np.int32)
    best, noted = np.zeros((n_units, n_budgets), np.int32), np.full(n_units, -1)  # the least order, and on which row
    for row in range(len(starts) - 1):
        if starts[row] == starts[row + 1]:
            continue
        for pattern in on[:, row]:
            if pattern < 0:
                continue
            for j in range(of_pattern[pattern], of_pattern[pattern + 1]):
                u = rule_unit[j]
                if noted[u] != row:
                    noted[u] = row
                    best[u] = n_rules
                for budget in range(rule_since[j], n_budgets):
                    best[u, budget] = min(best[u, budget], rule_order[j])
        for i in range(starts[row], starts[row + 1]):
            u = unit[i]
            if noted[u] != row:
                continue
            for budget in range(n_budgets):
                if best[u, budget] < n_rules:
                    rule = by_order[best[u, budget]]
                    counts[rule, budget] += 1
                    total[rule, budget] += value[i]
                    if budget == told:
                        owner[i] = rule
    return counts, total, owner


@compiled
def _relations(starts: Any, kind: Any, fields: Any, n_kinds: int, n_after: int) -> Any:
    """By kind and rule the rule of that kind that contains it, on its own side and from the other one, −1 where none;
    and every rule on the own token beside every rule on what stands before that it can meet."""
    n, meetings = len(kind), 0
    for u in range(len(starts) - 1):
        after = 0
        for i in range(starts[u], starts[u + 1]):
            after += kind[i] < n_after
        meetings += after * (starts[u + 1] - starts[u] - after)
    container, across = np.full((n_kinds, n), -1), np.full((n_after, n), -1)
    first, second = np.empty(meetings, np.int64), np.empty(meetings, np.int64)
    meetings = 0
    for u in range(len(starts) - 1):
        for i in range(starts[u], starts[u + 1]):
            for j in range(starts[u], starts[u + 1]):
                contains, meets = True, True
                for column in range(fields.shape[1]):
                    one, other = fields[i, column], fields[j, column]
                    contains &= one == other or other < 0
                    meets &= one == other or one < 0 or other < 0
                if contains and kind[j] < kind[i]:
                    if (kind[i] < n_after) == (kind[j] < n_after):
                        container[kind[j], i] = j
                    else:
                        across[kind[j], i] = j
                if meets and kind[j] < n_after <= kind[i]:
                    first[meetings], second[meetings] = i, j
                    meetings += 1
    return container, across, first[:meetings].copy(), second[:meetings].copy()
