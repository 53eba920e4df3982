"""Loops over firings against plain numpy, on random codes with rows that do not count and bad numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from actpipe.analysis.compiled import compiled
from actpipe.analysis.embeddings.proportional_sample import _first, _merged
from actpipe.analysis.firings import Firings, active, firings, joined
from actpipe.analysis.rows import Rows, block
from actpipe.analysis.token_sums import TokenSums, token_totals
from actpipe.analysis.top_windows import _peaks, _strongest

UNITS, ROWS, VOCABULARY, KEEP = 13, 96, 11, 3


def random_rows(rng: np.random.Generator) -> Rows:
    shape = (4, ROWS // 4)
    documents = rng.integers(0, 6, shape).astype(np.int32)  # which come back again and again
    split = rng.integers(0, 3, 7).astype(np.int8)
    return block(0, rng.integers(0, VOCABULARY, shape).astype(np.int32), documents, rng.random(shape) < 0.8, split)


def random_codes(rng: np.random.Generator, units: int = UNITS) -> np.ndarray:
    codes = np.round(rng.standard_normal((ROWS, units)) * 2).astype(np.float32)  # rounded: many are equal
    codes[rng.random(codes.shape) < 0.05] = np.nan
    codes[rng.random(codes.shape) < 0.05] = np.inf
    codes[rng.random(codes.shape) < 0.05] = -np.inf
    return codes


def made(seed: int) -> tuple[np.ndarray, Firings]:
    """Clean codes [ROWS, UNITS], all above zero or zero, and the same as firings."""
    rng = np.random.default_rng(seed)
    rows, codes = random_rows(rng), random_codes(rng)
    clean = np.where(np.isfinite(codes) & (codes > 0) & rows.counted[:, None], codes, 0)
    return clean, firings(rows, codes)


@pytest.mark.parametrize("units", [1, 7, 8, 13, 64])
def test_what_fires_is_listed_in_order_and_bad_numbers_are_counted(units: int) -> None:
    rng = np.random.default_rng(units)
    rows, codes = random_rows(rng), random_codes(rng, units)
    pieces = [active(rows, codes[first : first + 40], first) for first in range(0, ROWS, 40)]
    found = joined(rows, units, pieces)
    clean = np.where(np.isfinite(codes) & (codes > 0) & rows.counted[:, None], codes, 0)
    row, unit = np.nonzero(clean)
    np.testing.assert_array_equal(found.row, row)
    np.testing.assert_array_equal(found.unit, unit)
    np.testing.assert_array_equal(found.value, clean[row, unit])
    np.testing.assert_array_equal(found.starts, np.searchsorted(row, np.arange(ROWS + 1)))
    assert sum(bad for *_, bad in pieces) == (~np.isfinite(codes[rows.counted])).sum()


@pytest.mark.parametrize("seed", range(3))
def test_by_unit_and_parts_of_the_list_are_those_of_the_matrix(seed: int) -> None:
    clean, found = made(seed)
    starts, row, value = found.by_unit
    for u in range(UNITS):
        np.testing.assert_array_equal(row[starts[u] : starts[u + 1]], np.flatnonzero(clean[:, u]))
        np.testing.assert_array_equal(value[starts[u] : starts[u + 1]], clean[clean[:, u] > 0, u])
    some_units, some_rows = np.arange(UNITS) % 3 == 0, np.arange(ROWS) % 5 == 0
    for part, expected in (
        (found.by(some_units), clean * some_units),
        (found.on(some_rows), clean * some_rows[:, None]),
        (found.of(1), clean * (found.rows.split == 1)[:, None]),
    ):
        again = np.zeros_like(clean)
        again[part.row, part.unit] = part.value
        np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("seed", range(3))
def test_token_totals_and_runs_that_meet_are_dense_sums(seed: int) -> None:
    expected, sums = np.zeros((UNITS, VOCABULARY)), TokenSums(VOCABULARY)
    for part in range(5):
        clean, found = made(10 * seed + part)
        tokens = found.rows.tokens
        np.add.at(expected.T, tokens, clean)
        key, _ = token_totals(found, tokens, VOCABULARY)
        assert (np.diff(key) > 0).all()
        sums.update(found, tokens)
    pairs = sums.pairs()
    dense = np.zeros_like(expected)
    dense[pairs.unit, pairs.token] = pairs.total
    np.testing.assert_array_equal(dense, expected)
    assert len(pairs.unit) == (expected > 0).sum()


def strongest_documents(codes: np.ndarray, documents: np.ndarray) -> list[tuple[int, int, int]]:
    """(unit, row, document) of the KEEP documents with the largest peak; of equal ones the smaller row."""
    found = []
    for u in range(codes.shape[1]):
        peaks = {}
        for t in np.flatnonzero(codes[:, u]):
            best = peaks.get(documents[t])
            if best is None or codes[t, u] > codes[best, u]:
                peaks[documents[t]] = t
        order = sorted(peaks.values(), key=lambda t: (-codes[t, u], t))[:KEEP]
        found += [(u, int(t), int(documents[t])) for t in order]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_peaks_of_documents_that_come_back_are_found_once_in_a_part_and_in_two(seed: int) -> None:
    clean, found = made(seed)
    documents = found.rows.documents
    unit, row, _ = _peaks(*found.by_unit, documents, KEEP)
    expected = strongest_documents(clean, documents)
    assert [(int(u), int(t), int(documents[t])) for u, t in zip(unit, row, strict=True)] == expected

    halves = [found.on(np.arange(ROWS) < 48), found.on(np.arange(ROWS) >= 48)]
    parts = [_peaks(*half.by_unit, documents, KEEP) for half in halves]
    starts = [np.searchsorted(part[0], np.arange(UNITS + 1)) for part in parts]
    unit, row, value = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    index = _strongest(starts[0], starts[1] + len(parts[0][0]), value, row, documents[row], KEEP)
    assert [(int(unit[i]), int(row[i]), int(documents[row[i]])) for i in index] == expected


@pytest.mark.parametrize("most", [1, 4, 50])
def test_the_first_by_priority_are_those_of_a_sort_in_one_list_and_in_two(most: int) -> None:
    rng = np.random.default_rng(most)
    sizes = rng.integers(0, 30, UNITS)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    priority, tile = rng.integers(0, 9, starts[-1]).astype(np.float64), np.arange(starts[-1])
    unit = np.repeat(np.arange(UNITS), sizes)
    order = np.lexsort((tile, -priority, unit))
    rank = np.arange(len(order)) - starts[unit[order]]
    np.testing.assert_array_equal(_first(starts, priority, most), order[rank < most])

    half = rng.random(len(tile)) < 0.5
    parts = [order[half[order]], order[~half[order]]]
    index = np.concatenate(parts)
    mine, theirs = (np.searchsorted(unit[part], np.arange(UNITS + 1)) for part in parts)
    both = _merged(mine, theirs + len(parts[0]), priority[index], tile[index], most)
    np.testing.assert_array_equal(index[both], order[rank < most])


def test_a_loop_that_cannot_be_kept_is_compiled_all_the_same() -> None:
    """As where no folder can be written: numba finds no place for functions without a file."""
    made: dict[str, Any] = {}
    exec(
        "def total(values):\n    found = 0.0\n    for value in values:\n        found += value\n    return found", made
    )
    assert compiled(made["total"])(np.arange(5.0)) == 10
