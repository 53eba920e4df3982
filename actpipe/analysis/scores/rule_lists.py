"""The rules of all units as flat arrays, and what they say of every row without looking at rows × units.

The rules of a unit stand in an order (`Execution.order`) and the first that matches a row owns it: rules of two tokens
and more, the longest first; then the others, those of stronger activation first, but none before one that it contains.
How many rows a rule owns is a matter of the text alone: patterns on the row's own token contain each other or share
nothing, and so do patterns on what stands before; where one of each meet, their intersection is a pattern again. So the
counts of a few patterns give all, and units only matter where they fire.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.ngrams import KINDS, N_AFTER, N_SEQUENCES, Fields, asks_of, keys, shape
from actpipe.store.hashing import Words

Whole = TypeVar("Whole", bound=np.integer[Any])
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BUDGETS = (1, 4, 16, 32)  # rules
MOST_RULES = BUDGETS[-1]
MAIN = BUDGETS.index(16)  # the budget of the primary metric, of the text and of interference
_SHAPES = tuple(sum(1 << column for column in kind.asks) for kind in KINDS)
_FILTER_BITS = 21  # 2 MB of bits that tell most of what is not there from what is


class RuleLists(NamedTuple):
    """[K] in order of (unit, position)."""

    unit: Ints
    position: Ints  # 0 for the rule that was chosen first
    kind: Ints
    fields: Fields  # [K, 6]
    trust: Floats  # λ of Witten and Bell, rule_candidates
    alone: Floats  # mean activation that the rule was chosen for, comparable within a unit


class Patterns:
    """Numbers for patterns, by shape."""

    def __init__(self, fields: Fields) -> None:
        shapes = shape(fields)
        self.of = np.zeros(len(fields), dtype=np.int64)  # the number of each pattern given
        self.keys: dict[int, Words] = {}
        self.first: dict[int, int] = {}
        self.n = 0
        for each in np.unique(shapes).tolist():
            here = shapes == each
            self.keys[each], number = np.unique(keys(fields[here], asks_of(each)), return_inverse=True)
            self.first[each] = self.n
            self.of[here] = self.n + number
            self.n += len(self.keys[each])

    def on(self, rows: Fields) -> dict[int, NDArray[np.int32]]:
        """By shape, the number of the pattern that stands on each row; −1 where none does that was asked for."""
        return {each: self._on(rows, each) for each in self.keys}

    def _on(self, rows: Fields, each: int) -> NDArray[np.int32]:
        known, asked = self.keys[each], keys(rows, asks_of(each))
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where(known[place] == asked, place + self.first[each], -1).astype(np.int32)


class Owned(NamedTuple):
    """Firings that rules own, by budget: [budgets, m] the rule, −1 where none."""

    firing: Ints  # [m]
    rule: NDArray[np.int32]


class Execution:
    """Made once for lists of rules; never changed by what is measured with it."""

    def __init__(self, lists: RuleLists, n_units: int, budgets: tuple[int, ...] = BUDGETS) -> None:
        self.lists, self.n_units, self.budgets = lists, n_units, budgets
        first, second, both = _meetings(lists)
        self.meetings = first, second  # rules on the own token and rules on what stands before, that can meet
        self.patterns = Patterns(np.concatenate([lists.fields, both]))
        self.pattern = self.patterns.of[: len(lists.unit)]  # of each rule
        self.meeting = self.patterns.of[len(lists.unit) :]
        key = self.pattern * n_units + lists.unit
        self._rule = np.argsort(key)
        self._key = key[self._rule]
        self._filter = np.zeros(1 << _FILTER_BITS, dtype=bool)
        self._filter[_word(self._key)] = True
        kinds = range(len(KINDS))  # by kind [K]: the rule of that kind that contains the rule; −1 where none
        self.container = [self._container(kind, same_side=True) for kind in kinds]
        self.across = [self._container(kind, same_side=False) for kind in kinds[:N_AFTER]]
        self.order = self._order()  # [K] place of each rule among all; only places within a unit are compared

    def __deepcopy__(self, memo: object) -> Execution:
        return self

    def row_counts(self, on: dict[int, NDArray[np.int32]]) -> Ints:
        """[patterns] on how many of these rows each stands."""
        found = [numbers[numbers >= 0] for numbers in on.values()]
        return np.bincount(np.concatenate(found or [np.zeros(0, np.int32)]), minlength=self.patterns.n)

    def owned(self, on: dict[int, NDArray[np.int32]], unit: Ints, row: Ints) -> Owned:
        """Which rule owns each firing; `row` counts in the rows that `on` speaks of."""
        matches = [
            self._matches(on[each], unit, row) for each in _SHAPES if each in on
        ]  # on each side the widest first
        hit = np.zeros(len(unit), dtype=bool)
        for firing, _ in matches:
            hit[firing] = True
        firing = np.flatnonzero(hit)
        place = np.cumsum(hit) - 1
        sides = np.full((2, len(self.budgets), len(firing)), -1, dtype=np.int32)  # before, own token
        for which, found in matches:
            if not len(which):
                continue
            side = sides[0 if self.lists.kind[found[0]] < N_AFTER else 1]
            position = self.lists.position[found]
            for number, budget in enumerate(self.budgets):
                within = position < budget
                side[number, place[which[within]]] = found[within]
        return Owned(firing, self._first(sides[0], sides[1]))

    def _first(self, one: NDArray[Whole], other: NDArray[Whole]) -> NDArray[Whole]:
        """Of two rules the one that has the say; −1 is no rule."""
        order = np.append(self.order, len(self.order))  # −1 reads the last
        return np.where(order[one] < order[other], one, other)

    def _matches(self, on: NDArray[np.int32], unit: Ints, row: Ints) -> tuple[Ints, Ints]:
        """(firing, rule) of one shape."""
        number = on[row]
        firing = np.flatnonzero(number >= 0)
        key = number[firing].astype(np.int64) * self.n_units + unit[firing]
        maybe = np.flatnonzero(self._filter[_word(key)])
        firing, key = firing[maybe], key[maybe]
        place = np.minimum(np.searchsorted(self._key, key), len(self._key) - 1)
        true = self._key[place] == key if len(key) else np.zeros(0, bool)
        return firing[true], self._rule[place[true]]

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
        return self._first(self.parents(budget), self._narrowest(self.across, budget))

    def _narrowest(self, by_kind: list[Ints], budget: int) -> Ints:
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

    def _container(self, kind: int, *, same_side: bool) -> Ints:
        found = np.full(len(self.lists.unit), -1)
        is_same = (self.lists.kind < N_AFTER) == (kind < N_AFTER)
        inner = np.flatnonzero((is_same == same_side) & (self.lists.kind > kind))
        on = self.patterns.on(self.lists.fields[inner]).get(_SHAPES[kind])
        if on is not None:
            which, rule = self._matches(on, self.lists.unit[inner], np.arange(len(inner)))
            found[inner[which]] = rule
        return found


def _taken(parent: Ints, rows: Ints, n: int) -> Ints:
    """[n] rows of the rules directly within each."""
    inner = np.flatnonzero(parent >= 0)
    return np.bincount(parent[inner], weights=rows[inner], minlength=n).astype(np.int64)


def _word(key: Ints) -> Words:
    """A place in the filter (Fibonacci hashing)."""
    return (key.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _FILTER_BITS)


def _meetings(lists: RuleLists) -> tuple[Ints, Ints, Fields]:
    """Every rule on the own token beside every rule of the unit on what stands before, and the pattern of both."""
    pairs = list(_pairs(lists))
    first = np.concatenate([a for a, _ in pairs] or [np.zeros(0, np.int64)])
    second = np.concatenate([b for _, b in pairs] or [np.zeros(0, np.int64)])
    one, other = lists.fields[first], lists.fields[second]
    can = ((one == other) | (one < 0) | (other < 0)).all(axis=1)
    order = np.lexsort((second[can], first[can]))
    return first[can][order], second[can][order], np.maximum(one, other)[can][order]


def _pairs(lists: RuleLists) -> Iterator[tuple[Ints, Ints]]:
    after = lists.kind < N_AFTER
    second = np.flatnonzero(after)
    first = np.flatnonzero(~after)
    low, high = (np.searchsorted(lists.unit[first], lists.unit[second], side=side) for side in ("left", "right"))
    length = high - low
    start = np.repeat(low - np.cumsum(length) + length, length)
    yield first[start + np.arange(length.sum())], np.repeat(second, length)
