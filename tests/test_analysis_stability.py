"""Neighbours, and what two trainings have in common: by hand, by brute force and against chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from actpipe.analysis import neighbours
from actpipe.analysis.scores.neighbours import Neighbours
from actpipe.analysis.stability import products
from actpipe.analysis.stability.code_sample import CodeSample, in_common
from actpipe.analysis.stability.cofiring import cofiring
from actpipe.store import Store
from sae.start import random_directions

from .planted_units import gathered, scored, subject_of, text_store


def directions(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return random_directions(n, d, torch.Generator().manual_seed(seed))


def test_nearest_directions_are_those_of_all_cosines(monkeypatch) -> None:
    rows = directions(40, 6) * torch.linspace(0.1, 3, 40)[:, None]
    whole = neighbours.nearest_directions(rows, keep=5)
    unit = torch.nn.functional.normalize(rows, dim=1).numpy()
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    expected = np.argsort(-cosines, axis=1)[:, :5]
    np.testing.assert_array_equal(whole.unit, expected)
    np.testing.assert_allclose(whole.cosine, np.take_along_axis(cosines, expected, 1), atol=1e-6)
    monkeypatch.setattr(neighbours, "_ENTRIES", 40 * 7)  # blocks of seven
    np.testing.assert_array_equal(neighbours.nearest_directions(rows, keep=5).unit, expected)
    assert neighbours.nearest_directions(rows[:3]).unit.shape == (3, 2)  # no more others than there are


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """48 sequences of 64 tokens, documents of 96."""
    tokens = np.random.default_rng(0).integers(0, 50, (48, 64))
    doc = (np.arange(48 * 64) // 96).reshape(48, 64)
    return text_store(tmp_path / "text.zarr", tokens.astype(np.int32), doc.astype(np.int32))


def planted(store: Store, n: int, density: float = 0.1, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    shape = (store.tokens.size, n)
    return np.where(random.random(shape) < density, random.exponential(size=shape), 0).astype(np.float32)


def not_for_scores(store: Store, seed: int = 0) -> np.ndarray:
    corpus = subject_of(store, 1, seed=seed).corpus
    return np.concatenate([rows.split != 2 for rows in corpus.blocks(256)])


def sampled(store: Store, codes: np.ndarray, *, parts: int = 1, work: int = 1 << 29, sequences: int = 4) -> CodeSample:
    n = codes.shape[1]
    accumulators = [CodeSample(n, seed=0, work=work) for _ in range(parts)]
    return gathered(accumulators, subject_of(store, n), codes, sequences)  # type: ignore[return-value, arg-type]


# Samples


def test_a_sample_without_a_bound_is_all_rows_that_are_not_for_scores(store: Store) -> None:
    codes = planted(store, 9)
    row, found = sampled(store, codes).sample()
    expected = np.flatnonzero(not_for_scores(store))
    np.testing.assert_array_equal(row, expected)
    np.testing.assert_array_equal(found.toarray(), codes[expected])


@pytest.mark.parametrize(("parts", "sequences"), [(1, 1), (3, 1), (4, 5), (1, 48)])
def test_a_bounded_sample_is_the_same_in_any_parts(store: Store, parts: int, sequences: int) -> None:
    codes = planted(store, 9)
    work = 20_000
    whole = sampled(store, codes, work=work)
    again = sampled(store, codes, parts=parts, work=work, sequences=sequences)
    for mine, theirs in zip(whole.state().values(), again.state().values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    row, found = whole.sample()
    cost = 32 * found.nnz
    assert 0.8 * work < cost <= work  # n²/512 is 0 for nine units
    saved = CodeSample(9, seed=0, work=work)
    saved.restore(whole.state())
    np.testing.assert_array_equal(saved.sample().row, row)
    # whole tiles, drawn evenly
    tiles = np.concatenate([rows.tile for rows in subject_of(store, 9).corpus.blocks(256)])
    assert np.isin(np.flatnonzero(np.isin(tiles, tiles[row]) & not_for_scores(store)), row).all()


def test_two_samples_have_the_rows_of_the_smaller_one_in_common(store: Store) -> None:
    few, many = sampled(store, planted(store, 9, 0.02), work=9000), sampled(store, planted(store, 30), work=30_000)
    one, other = in_common(few, many)
    np.testing.assert_array_equal(one.row, other.row)
    smaller = min(len(few.sample().row), len(many.sample().row))
    assert 0 < len(one.row) == smaller < max(len(few.sample().row), len(many.sample().row))


@pytest.mark.parametrize("gain", [1e-9, 1e9])  # sparse, dense
def test_products_are_those_of_the_matrices(store: Store, gain: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "DENSE_GAIN", gain)
    monkeypatch.setattr(products, "_PRODUCTS", 500 if gain < 1 else 50)
    monkeypatch.setattr(products, "_ENTRIES", 1000)
    a, b = (sampled(store, planted(store, n, seed=n)).sample().codes for n in (17, 11))
    blocks = list(products.products(a, b))
    assert len(blocks) > 2
    whole = np.concatenate([block.sums.toarray() for block in blocks])
    np.testing.assert_allclose(whole, a.toarray().T @ b.toarray(), rtol=1e-4)
    assert [block.first for block in blocks] == np.cumsum([0, *(block.sums.shape[0] for block in blocks)])[:-1].tolist()


# Co-firing


def test_units_that_fire_together_are_found_by_brute_force(store: Store) -> None:
    codes = planted(store, 8)
    codes[:, 3] = codes[:, 2] * (np.random.default_rng(1).random(len(codes)) < 0.8)  # fires on most rows of unit 2
    codes[:, 4] = 1  # always
    codes[:, 5] = 0  # never
    _, kept = sampled(store, codes).sample()
    found = cofiring(kept, keep=3, fewest=5)
    fires = kept.toarray() > 0
    expected = []
    with np.errstate(invalid="ignore", divide="ignore"):
        phi = np.corrcoef(fires.T.astype(float))
    together = fires.T.astype(int) @ fires.astype(int)
    for u in range(8):
        others = [v for v in range(8) if v != u and together[u, v] >= 5 and phi[u, v] > 0]
        expected += [(u, v) for v in sorted(others, key=lambda v: -phi[u, v])[:3]]
    assert list(zip(found.unit.tolist(), found.other.tolist(), strict=True)) == expected
    pairs = tuple(np.array(expected).T)
    np.testing.assert_allclose(found.phi, phi[pairs], rtol=1e-6)
    np.testing.assert_array_equal(found.together, together[pairs])
    either = (fires[:, pairs[0]] | fires[:, pairs[1]]).sum(0)
    np.testing.assert_allclose(found.jaccard, together[pairs] / either)
    share = fires.mean(0)
    np.testing.assert_allclose(found.pmi, np.log2(together[pairs] / len(fires) / share[pairs[0]] / share[pairs[1]]))
    assert found.other[found.unit == 2][0] == 3
    assert not np.isin([4, 5], found.unit).any()


@pytest.mark.parametrize("parts", [1, 4])
def test_the_score_lists_neighbours_of_both_kinds(store: Store, parts: int) -> None:
    codes = planted(store, 6, 0.2)
    codes[:, 1] = 2 * codes[:, 0]
    result = scored(Neighbours(), subject_of(store, 6), codes, parts=parts)
    table = result.tables["neighbours"]
    assert table.schema == Neighbours.tables["neighbours"]
    rows = table.to_pylist()
    assert sum(row["kind"] == "direction" for row in rows) == 6 * 5
    assert all(row["value"] == 0 for row in rows if row["kind"] == "direction")  # the axes of the planted units
    best = next(row for row in rows if row["kind"] == "cofiring" and row["unit"] == 0)
    assert (best["other"], best["value"], best["jaccard"], best["rank"]) == (1, 1, 1, 0)
    assert result.columns["cofiring_phi"][:2].tolist() == [1, 1]
    assert result.columns["nearest_cosine"].tolist() == [0] * 6
