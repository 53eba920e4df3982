"""The sketch keeps its bound against exact sums, merged in any order, and is exact where there is room."""

from __future__ import annotations

import numpy as np
import pytest

from actpipe.analysis import token_sketch
from actpipe.analysis.token_sketch import TokenSketch
from actpipe.analysis.token_sums import TokenSums

from .token_totals import totals

UNITS, VOCABULARY = 12, 3000


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_sketch, "_PENDING", 3000)  # so that it is reduced many times


def _blocks(seed: int, n: int = 40) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Zipf tokens whose exponent grows with the unit: from nearly uniform to a few tokens."""
    rng = np.random.default_rng(seed)
    weights = [np.arange(1, VOCABULARY + 1) ** -(0.2 * u) for u in range(UNITS)]
    blocks = []
    for _ in range(n):
        unit = np.sort(rng.integers(0, UNITS, 2000))
        token = np.concatenate(
            [rng.choice(VOCABULARY, (unit == u).sum(), p=weights[u] / weights[u].sum()) for u in range(UNITS)]
        )
        blocks.append((unit, token, rng.exponential(1, 2000).astype(np.float32)))
    return blocks


def _exact(blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    table = np.zeros((UNITS, VOCABULARY))
    for unit, token, value in blocks:
        np.add.at(table, (unit, token), value.astype(np.float64))
    return table


def _dense(sketch: TokenSketch) -> np.ndarray:
    pairs, table = sketch.pairs(), np.zeros((UNITS, VOCABULARY))
    table[pairs.unit, pairs.token] = pairs.total
    return table


@pytest.mark.parametrize("parts", [1, 4])
def test_no_total_is_wrong_by_more_than_a_128th_of_the_mass(parts: int) -> None:
    blocks = _blocks(0)
    sketches = [TokenSketch(UNITS, VOCABULARY) for _ in range(parts)]
    for i, block in enumerate(blocks):
        sketches[i % parts].add(*totals(*block, VOCABULARY))
    last = sketches.pop()
    for other in sketches:
        last.merge(other)
    true, kept = _exact(blocks), _dense(last)
    missing = true - kept
    assert (missing > -1e-9).all()
    assert (missing <= last.error[:, None] + 1e-9).all()
    np.testing.assert_allclose(last.mass, true.sum(axis=1))
    assert (last.error <= last.mass / 129 + 1e-9).all()
    assert last.error[0] > 0  # the first unit has far more tokens than counters
    assert np.bincount(last.pairs().unit).max() <= 128
    for unit in range(6, UNITS):  # where a few tokens hold the mass they are found, in order
        np.testing.assert_array_equal(np.argsort(-kept[unit])[:3], np.argsort(-true[unit])[:3])


def test_units_with_few_tokens_are_exact() -> None:
    rng = np.random.default_rng(1)
    sketch, sums = TokenSketch(UNITS, VOCABULARY), TokenSums(VOCABULARY)
    for _ in range(20):
        unit, value = rng.integers(0, UNITS, 1000), rng.integers(1, 9, 1000).astype(np.float32)
        token = rng.integers(0, 128, 1000) * 7 % VOCABULARY
        sketch.add(*totals(unit, token, value, VOCABULARY))
        sums.add(*totals(unit, token, value, VOCABULARY))
    assert (sketch.error == 0).all()
    for mine, theirs in zip(sketch.pairs(), sums.pairs(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_totals_taken_away_are_counted_by_hand() -> None:
    """Two counters: 5, 3, 1 become 4 and 2 with an error of 1; a 6 of another token leaves 4 and 2, error 3."""
    sketch = TokenSketch(1, 10, counters=2)
    sketch.add(np.array([7, 8, 9]), np.array([5.0, 3.0, 1.0]))
    np.testing.assert_array_equal(sketch.pairs().token, [7, 8])
    np.testing.assert_array_equal(sketch.pairs().total, [4, 2])
    sketch.add(np.array([1]), np.array([6.0]))
    np.testing.assert_array_equal(sketch.pairs().token, [1, 7])
    np.testing.assert_array_equal(sketch.pairs().total, [4, 2])
    assert sketch.error[0] == 3 <= sketch.mass[0] / 3 == 5


def test_a_saved_sketch_goes_on() -> None:
    blocks = _blocks(2, 10)
    sketch = TokenSketch(UNITS, VOCABULARY)
    for block in blocks:
        again = TokenSketch(UNITS, VOCABULARY)
        again.restore(sketch.state())
        again.add(*totals(*block, VOCABULARY))
        sketch = again
    missing = _exact(blocks) - _dense(sketch)
    assert ((missing > -1e-9) & (missing <= sketch.error[:, None] + 1e-9)).all()
    assert not len(TokenSketch(UNITS, VOCABULARY).pairs().unit)
