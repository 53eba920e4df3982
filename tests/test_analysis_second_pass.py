"""What the second pass reads and counts, against plain numpy on random codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actpipe.analysis.firings import Firings, firings
from actpipe.analysis.rows import Rows, block
from actpipe.analysis.sampling.looking import _fires, _firings_in, _units_in
from actpipe.analysis.saved_codes import read_codes, write_codes
from actpipe.analysis.scores.rule_passes import _add
from actpipe.analysis.splits import SCORE

UNITS, ROWS = 9, 96


def made(seed: int) -> tuple[np.random.Generator, np.ndarray, Firings]:
    """Codes [ROWS, UNITS] in multiples of 1/8, so that sums are exact, and the same as firings."""
    rng = np.random.default_rng(seed)
    codes = (rng.integers(1, 30, (ROWS, UNITS)) / 8 * (rng.random((ROWS, UNITS)) < 0.2)).astype(np.float32)
    return rng, codes, firings(random_rows(rng), codes)


def random_rows(rng: np.random.Generator) -> Rows:
    shape = (4, ROWS // 4)
    tokens, documents = rng.integers(0, 9, shape).astype(np.int32), rng.integers(0, 6, shape).astype(np.int32)
    return block(0, tokens, documents, np.ones(shape, bool), rng.integers(0, 3, 7).astype(np.int8))


def test_codes_of_the_score_split_come_back_from_disk(tmp_path: Path) -> None:
    _, _, found = made(0)
    write_codes(tmp_path / "codes.npz", found)
    again, expected = read_codes(tmp_path / "codes.npz", found.rows, UNITS), found.of(SCORE)
    assert 0 < len(expected.unit) < len(found.unit)
    for name in ("unit", "row", "value"):
        np.testing.assert_array_equal(getattr(again, name), getattr(expected, name))


@pytest.mark.parametrize("seed", range(3))
def test_firings_in_windows_are_those_of_the_matrix(seed: int) -> None:
    rng, codes, found = made(seed)
    unit, start = rng.integers(0, UNITS, 40), rng.integers(0, ROWS, 40)
    length = np.minimum(rng.integers(0, 9, 40), ROWS - start)
    pieces = [codes[s : s + n] for s, n in zip(start, length, strict=True)]
    window, firing = _firings_in(unit, start, length, found.starts, found.unit)
    seen = [(w, start[w] + row) for w in range(40) for row in np.flatnonzero(pieces[w][:, unit[w]])]
    assert list(zip(window, found.row[firing], strict=True)) == seen
    np.testing.assert_array_equal(found.unit[firing], unit[window])
    fires = _fires(unit, start, length, found.starts, found.unit)
    np.testing.assert_array_equal(fires, [(pieces[w][:, unit[w]] > 0).any() for w in range(40)])
    window, unit = _units_in(start, length, found.starts, found.unit, UNITS)
    expected = [(w, u) for w in range(40) for u in np.flatnonzero((pieces[w] > 0).any(axis=0))]
    assert sorted(zip(window, unit, strict=True)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_deciles_are_counted_as_by_numpy(seed: int) -> None:
    rng, codes, found = made(seed)
    row, unit = np.nonzero(codes)
    value = codes[row, unit].astype(float)
    decile_of_bin, which = rng.integers(0, 10, (UNITS, 16)).astype(np.uint8), rng.integers(0, 16, len(unit))
    owner, predicts = rng.integers(-1, 5, len(unit)).astype(np.int32), rng.random(5) < 0.5
    total, squares = np.zeros(UNITS), np.zeros(UNITS)
    fired, predicted = np.zeros((UNITS, 10), np.int64), np.zeros((UNITS, 10), np.int64)
    sums = total, squares, fired, predicted
    _add(found.unit, found.value, which, decile_of_bin, owner, predicts, *sums)
    decile, said = decile_of_bin[unit, which], (owner >= 0) & predicts[owner]
    np.testing.assert_array_equal(total, counted((UNITS,), unit, weights=value))
    np.testing.assert_array_equal(squares, counted((UNITS,), unit, weights=value**2))
    np.testing.assert_array_equal(fired, counted((UNITS, 10), unit, decile))
    np.testing.assert_array_equal(predicted, counted((UNITS, 10), unit[said], decile[said]))


def counted(shape: tuple[int, ...], *at: np.ndarray, weights: np.ndarray | float = 1) -> np.ndarray:
    found = np.zeros(shape)
    np.add.at(found, at, weights)
    return found
