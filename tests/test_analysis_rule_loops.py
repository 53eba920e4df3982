"""Compiled loops behind the score `rules` against plain numpy and Python, on random n-grams and firings."""

from __future__ import annotations

import numpy as np
import pytest

from actpipe.analysis.ngrams import FIELDS, KINDS, keys
from actpipe.analysis.ngrams_order import ByRow, swept
from actpipe.analysis.scores.interference import BINS, bins, lower_edges
from actpipe.analysis.scores.rule_candidates import LEAST_GAIN, Base, Candidates, _gaining, gain
from actpipe.analysis.scores.rule_choice import choose
from actpipe.analysis.scores.rule_lists import Execution, Patterns, RuleLists
from actpipe.store.hashing import salt, splitmix64

UNITS, ROWS, TOKENS = 7, 120, 4


def said_of(tokens: np.ndarray) -> np.ndarray:
    """[…, 6] fields of […, 4] preceding tokens, whose classes are their halves."""
    x0, x1, x2, x3 = np.moveaxis(tokens, -1, 0)
    return np.stack([np.where(x0 < 0, -1, x0 // 2), x0, np.where(x1 < 0, -1, x1 // 2), x1, x2, x3], axis=-1)


def random_text(rng: np.random.Generator) -> np.ndarray:
    tokens = rng.integers(0, TOKENS, (ROWS, 4)).astype(np.int32)
    tokens[rng.random(ROWS) < 0.1, 2:] = -1  # beyond a border
    return said_of(tokens).astype(np.int32)


def random_firings(rng: np.random.Generator) -> tuple[np.ndarray, ByRow]:
    """Codes [ROWS, UNITS] in multiples of 1/8, so that sums are exact, and the same as firings."""
    codes = (rng.integers(1, 20, (ROWS, UNITS)) / 8 * (rng.random((ROWS, UNITS)) < 0.4)).astype(np.float32)
    row, unit = np.nonzero(codes)
    return codes, ByRow(np.searchsorted(row, np.arange(ROWS + 1)), unit.astype(np.int32), codes[row, unit])


def test_keys_are_chained_hashes_of_what_is_asked_for() -> None:
    said = random_text(np.random.default_rng(0))
    for asks in ((0,), (1, 3), (1, 3, 4, 5)):
        word = np.full(ROWS, salt(*asks))
        for column in asks:
            word = splitmix64(word ^ said[:, column].astype(np.uint64))
        expected = np.where((said[:, asks] >= 0).all(axis=1), word | np.uint64(1), np.uint64(0))
        np.testing.assert_array_equal(keys(said, asks), expected)


def test_firings_are_swept_by_unit_and_place() -> None:
    rng = np.random.default_rng(1)
    codes, firings = random_firings(rng)
    row = rng.permutation(ROWS).astype(np.int32)
    starts, place, value = swept(row, firings, UNITS)
    for unit in range(UNITS):
        here = slice(starts[unit], starts[unit + 1])
        np.testing.assert_array_equal(place[here], np.flatnonzero(codes[row, unit]))
        np.testing.assert_array_equal(value[here], codes[row[place[here]], unit])


@pytest.mark.parametrize("seed", range(3))
def test_n_grams_that_gain_enough_are_those_of_dense_sums(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, firings = random_firings(rng)
    fold, at = rng.integers(0, 2, ROWS).astype(np.int8), np.sort(rng.integers(-1, 12, ROWS)).astype(np.int32)
    rows = np.stack([[((at == g) & (fold == f)).sum() for f in (0, 1)] for g in range(12)]).astype(float)
    trust, mean, least = rng.random(12), rng.random((UNITS, 2)), rng.random(UNITS)
    by_unit = swept(np.arange(ROWS, dtype=np.int32), firings, UNITS)
    found = _gaining(*by_unit, fold, at, rows, trust, mean, least)
    expected = []
    for unit in range(UNITS):
        for g in range(12):
            total = np.array([codes[(at == g) & (fold == f), unit].sum(dtype=float) for f in (0, 1)])
            gained = squares_saved(rows[g], total, trust[g], mean[unit])
            if (codes[at == g, unit] > 0).sum() >= 2 and gained >= least[unit]:
                expected.append((unit, g, *total, gained))
    unit, gram, total, gained = found
    assert expected
    np.testing.assert_allclose(np.column_stack([unit, gram, total, gained]), expected)


def squares_saved(rows: np.ndarray, total: np.ndarray, trust: float, otherwise: np.ndarray) -> float:
    """As in rule_candidates.gain, by arrays: each fold with the mean of the other one."""
    mean = np.divide(total, rows, out=otherwise.copy(), where=rows > 0)
    said, before = (trust * mean + (1 - trust) * otherwise)[::-1], otherwise[::-1]
    return float((2 * (said - before) * total - (said**2 - before**2) * rows).sum())


@pytest.mark.parametrize("seed", range(5))
def test_rules_are_chosen_as_by_plain_arrays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    of, base = random_candidates(rng)
    choice = choose(of, base)
    expected = [each for unit in range(UNITS) for each in chosen_of(unit, of, base)]
    assert len(expected) > 2 * UNITS
    np.testing.assert_array_equal(choice.candidate, [i for i, _ in expected])
    np.testing.assert_allclose(choice.mean, [mean for _, mean in expected])


def random_candidates(rng: np.random.Generator) -> tuple[Candidates, Base]:
    said = random_text(rng)[:40]
    unit, kind = np.repeat(np.arange(UNITS), 40), np.tile(rng.integers(0, len(KINDS), 40), UNITS)
    fields = np.full((len(unit), len(FIELDS)), -1, np.int32)
    for i in range(len(unit)):
        asks = KINDS[kind[i]].asks
        known = [*asks, *(column - 1 for column in asks if FIELDS[column] in ("token0", "token1"))]
        fields[i, known] = said[i % 40, known]
    rows = rng.integers(0, 30, (len(unit), 2)).astype(float)
    rows[:, 0] += 1
    total, trust = rows * rng.random((len(unit), 2)), rng.random(len(unit))
    base = Base(np.full((UNITS, 2), 400.0), rng.random((UNITS, 2)) * 100 + 300, np.full(UNITS, 200.0))
    gained = np.array([squares_saved(rows[i], total[i], trust[i], base.mean[u]) for i, u in enumerate(unit)])
    assert gain(rows[3], total[3], trust[3], base.mean[unit[3]]) == pytest.approx(gained[3])
    return Candidates(unit, kind, fields, rows, total, trust, gained), base


def chosen_of(unit: int, of: Candidates, base: Base) -> list[tuple[int, float]]:
    """(candidate, its mean) one after another."""
    index = np.flatnonzero(of.unit == unit)
    index = index[np.argsort(-of.gain[index], kind="stable")]
    fields, rows, total = of.fields[index], of.rows[index].copy(), of.total[index].copy()
    rest_rows, rest_total = base.rows[unit].copy(), base.total[unit].copy()
    speaker, said, free = np.full(len(index), -1), np.zeros((len(index), 2)), np.ones(len(index), bool)
    found: list[tuple[int, float]] = []
    while len(found) < 48:
        said[speaker < 0] = rest_total / rest_rows
        each = zip(rows, total, of.trust[index], said, strict=True)
        gained = np.array([squares_saved(*one) for one in each])
        gained[~free | (rows.sum(axis=1) == 0)] = -np.inf
        best = int(gained.argmax())
        if gained[best] < LEAST_GAIN * base.spread[unit]:
            break
        its_rows, its_total = rows[best].copy(), total[best].copy()
        mean = np.divide(its_total, its_rows, out=said[best].copy(), where=its_rows > 0)
        found.append((int(index[best]), its_total.sum() / its_rows.sum()))
        if speaker[best] < 0:
            rest_rows, rest_total = rest_rows - its_rows, rest_total - its_total
        equal, kind = fields == fields[best], of.kind[index]
        spoken = (equal | (fields[best] < 0)).all(axis=1) & (speaker < kind[best])
        around = (equal | (fields < 0)).all(axis=1)
        said[spoken], speaker[spoken], free[best] = mean, kind[best], False
        rows[around] = np.maximum(rows[around] - its_rows, 0)
        total[around] = np.maximum(total[around] - its_total, 0)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_every_firing_is_owned_by_the_first_of_its_units_rules_that_matches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    said, (codes, firings) = random_text(rng), random_firings(rng)
    lists = random_lists(rng, said)
    budgets = (1, 3, 8)
    execution = Execution(lists, UNITS, budgets)
    on = execution.patterns.on(said)
    owned = execution.owned(on, firings, told=1)
    owner = np.full((len(budgets), ROWS, UNITS), -1)
    for number, budget in enumerate(budgets):
        for rule in np.argsort(-execution.order):  # the first has the last word
            if lists.position[rule] < budget:
                asked = lists.fields[rule] >= 0
                matches = (said[:, asked] == lists.fields[rule, asked]).all(axis=1)
                owner[number, matches, lists.unit[rule]] = rule
    row, unit = np.nonzero(codes)
    np.testing.assert_array_equal(owned.rule, owner[1, row, unit])
    for rule in range(len(lists.unit)):
        mine = (owner == rule) & (codes > 0)
        np.testing.assert_array_equal(owned.firings[:, rule], mine.sum(axis=(1, 2)))
        np.testing.assert_array_equal(owned.total[:, rule], (mine * codes).sum(axis=(1, 2), dtype=float))
    rows = execution.owned_rows(execution.row_counts(on))
    np.testing.assert_array_equal(rows, [[(each == rule).sum() for rule in range(len(lists.unit))] for each in owner])


def random_lists(rng: np.random.Generator, said: np.ndarray) -> RuleLists:
    """Up to 8 different rules a unit, of every kind."""
    of, _ = random_candidates(rng)
    kept: list[tuple[int, int]] = []
    for unit in range(UNITS):
        mine = np.flatnonzero((of.unit == unit) & ((of.fields >= 0) == (said_shape(of.kind) >= 0)).all(axis=1))
        _, first = np.unique(of.fields[mine], axis=0, return_index=True)
        kept += [(int(i), position) for position, i in enumerate(rng.permutation(mine[first])[:8])]
    which, position = np.array(kept).T
    return RuleLists(
        of.unit[which], position, of.kind[which], of.fields[which], of.trust[which], rng.random(len(which))
    )


def said_shape(kind: np.ndarray) -> np.ndarray:
    """[m, 6], not negative where a pattern of the kind says something."""
    found = np.full((len(kind), len(FIELDS)), -1)
    for i, each in enumerate(kind):
        asks = KINDS[each].asks
        found[i, [*asks, *(column - 1 for column in asks if FIELDS[column] in ("token0", "token1"))]] = 0
    return found


def test_patterns_are_found_again_and_others_are_not() -> None:
    rng = np.random.default_rng(3)
    fields = np.unique(random_lists(rng, random_text(rng)).fields, axis=0)
    patterns, said = Patterns(fields), random_text(rng)
    assert patterns.n == len(fields)
    stands = {each: [set() for _ in range(ROWS)] for each in patterns.known}
    for shape, numbers in patterns.on(said).items():
        for row, number in enumerate(numbers):
            stands[shape][row] |= {int(number)} - {-1}
    found = [set().union(*(rows[row] for rows in stands.values())) for row in range(ROWS)]
    for row in range(ROWS):
        matches = ((fields == said[row]) | (fields < 0)).all(axis=1)
        assert found[row] == set(patterns.of[matches].tolist())


def test_bins_of_activations_are_those_between_their_edges() -> None:
    value = np.exp(np.random.default_rng(4).uniform(-15, 12, 1000)).astype(np.float32)
    expected = np.clip(np.searchsorted(lower_edges(), value, side="right") - 1, 0, BINS - 1)
    np.testing.assert_array_equal(bins(value), expected)
