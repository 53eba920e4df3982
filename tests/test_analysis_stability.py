"""Neighbours, and what two trainings have in common: by hand, by brute force and against chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from actpipe.analysis import neighbours
from actpipe.analysis.scores.neighbours import Neighbours
from actpipe.analysis.stability import Side, stability
from actpipe.analysis.stability import cofiring as firing_together
from actpipe.analysis.stability.assignment import mean_of_best_pairs
from actpipe.analysis.stability.code_sample import CodeSample, in_common
from actpipe.analysis.stability.cofiring import cofiring
from actpipe.analysis.stability.directions import matched, share_by_chance
from actpipe.analysis.stability.functional import FEWEST, functional_match, of_pairs
from actpipe.analysis.stability.seeds import compared
from actpipe.analysis.units.native import NativeUnits
from actpipe.errors import Mismatch
from actpipe.store import Store
from sae.matching import chance_mmcs
from sae.start import random_directions

from .planted_units import HOOK, gathered, scored, subject_of, text_store


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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """48 sequences of 64 tokens, documents of 96."""
    tokens = np.random.default_rng(0).integers(0, 50, (48, 64))
    doc = (np.arange(48 * 64) // 96).reshape(48, 64)
    return text_store(tmp_path_factory.mktemp("stability") / "text.zarr", tokens.astype(np.int32), doc.astype(np.int32))


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


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 7), (20, 31), (31, 20)])
@pytest.mark.parametrize("ties", [False, True])
def test_the_best_pairs_are_those_of_scipy(shape: tuple[int, int], ties: bool) -> None:
    random = np.random.default_rng(len(shape))
    for _ in range(20):
        values = random.integers(-3, 4, shape) / 4 if ties else random.random(shape) * 2 - 1
        values = values.astype(np.float32)
        mean = mean_of_best_pairs(values)
        if not values.size:
            assert np.isnan(mean)
            continue
        assert mean == pytest.approx(values[scipy.optimize.linear_sum_assignment(values, maximize=True)].mean(), 1e-6)


def test_there_are_no_best_pairs_of_what_is_not_a_number() -> None:
    assert np.isnan(mean_of_best_pairs(np.array([[0.5, np.nan], [0.1, 0.2]])))


# Co-firing


@pytest.mark.parametrize("words", [1e-9, 1e9])  # through firings, through bits
def test_units_that_fire_together_are_found_by_brute_force(
    store: Store, words: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing_together, "_WORDS_A_FIRING", words)
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


def test_no_units_and_no_rows_give_empty_tables(store: Store) -> None:
    assert neighbours.nearest_directions(torch.zeros(0, 4)).unit.shape == (0, 0)
    empty = CodeSample(0, seed=0).sample().codes
    assert len(cofiring(empty).unit) == 0
    unseen = CodeSample(5, seed=0), CodeSample(4, seed=0)
    assert len(cofiring(unseen[0].sample().codes).unit) == 0
    found = functional_match(*unseen)
    assert found.rows == 0
    assert np.isnan(found.mcc)
    assert np.isnan(found.backward.correlation).all()
    assert np.isnan(of_pairs(found, np.array([0]), np.array([1])).correlation).all()


# Directions


@dataclass(frozen=True, kw_only=True)
class Reading(NativeUnits):
    """Units that read along directions of their own."""

    read: Tensor

    @property
    def reads(self) -> Tensor | None:
        return self.read


def units(written: Tensor, read: Tensor | None = None) -> NativeUnits:
    given = {"name": "planted", "kind": "sae_latent", "hook": HOOK, "writes": HOOK, "written": written}
    return NativeUnits(**given) if read is None else Reading(**given, read=read)


def test_a_permuted_dictionary_is_recovered_whole() -> None:
    rows = directions(60, 16)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    found = matched(units(rows), units(3 * rows[order]))
    np.testing.assert_array_equal(order.numpy()[found.forward.other], np.arange(60))
    assert found.mcc == pytest.approx(1)
    assert found.forward.same.all()
    assert found.backward.cosine == pytest.approx(np.ones(60))
    assert found.mcc_chance < 0.75


@pytest.mark.parametrize(("n", "d"), [(512, 128), (1024, 64), (200, 24)])
def test_the_chance_of_directions_is_that_of_simulation(n: int, d: int) -> None:
    random = np.random.default_rng(0)
    largest = []
    for _ in range(30):
        a, b = (each / np.linalg.norm(each, axis=1)[:, None] for each in random.normal(size=(2, n, d)))
        largest.append((a[:100] @ b.T).max(1))
    simulated = np.concatenate(largest)
    assert chance_mmcs(n, d) == pytest.approx(simulated.mean(), rel=0.02)
    at_least = float(np.quantile(simulated, 0.9))
    assert share_by_chance(n, d, at_least) == pytest.approx(0.1, rel=0.15)


def test_the_same_unit_is_written_and_read_alike() -> None:
    rows, other = directions(20, 64), directions(20, 64, 1)
    half = torch.cat([rows[:10], other[10:]])
    found = matched(units(rows, rows), units(rows, half))
    assert found.forward.same.tolist() == [True] * 10 + [False] * 10
    assert found.forward.read[:10] == pytest.approx(np.ones(10))
    assert matched(units(rows), units(rows)).forward.same.all()  # nothing is known of reading
    assert np.isnan(matched(units(rows), units(rows, rows)).forward.read).all()


# Functions

Twins = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture
def twins(store: Store) -> Twins:
    """Codes of 30 units, of the same in another order, scaled and with noise, and the order. The last is rare."""
    codes = planted(store, 30, 0.15)
    codes[:, 29] = 0
    codes[np.flatnonzero(not_for_scores(store))[: FEWEST - 1], 29] = 1
    random = np.random.default_rng(5)
    order = random.permutation(30)
    noise = 1 + 0.1 * random.random(codes.shape)
    return codes, (codes * noise)[:, order] * 4, order


def test_a_copy_in_another_order_does_the_same(store: Store, twins: Twins) -> None:
    one, other, order = twins
    found = functional_match(sampled(store, one), sampled(store, other))
    frequent = np.arange(29)
    np.testing.assert_array_equal(order[found.forward.other[frequent]], frequent)
    assert found.forward.correlation[:29].min() > 0.98
    assert np.isnan(found.forward.correlation[29])
    back = np.isfinite(found.backward.correlation)
    np.testing.assert_array_equal(np.flatnonzero(~back), np.flatnonzero(order == 29))
    np.testing.assert_array_equal(found.backward.other[back], order[back])
    assert found.mcc > 0.98


def test_correlations_are_those_of_all_rows(store: Store, twins: Twins) -> None:
    one, other, _ = twins
    kept = not_for_scores(store)
    found = functional_match(sampled(store, one), sampled(store, other))
    a, b = one[kept][:, :29], other[kept]
    r = np.corrcoef(a.T, b.T)[:29, 29:]
    r[:, (b > 0).sum(0) < FEWEST] = -1
    np.testing.assert_allclose(found.forward.correlation[:29], r.max(1), rtol=1e-5)
    usable = (b > 0).sum(0) >= FEWEST
    rows, columns = scipy.optimize.linear_sum_assignment(r[:, usable], maximize=True)
    assert found.mcc == pytest.approx(r[:, usable][rows, columns].mean(), rel=1e-5)
    u, v = np.array([0, 3, 29]), np.array([5, 7, 2])
    of = of_pairs(found, u, v, at_once=2)
    assert of.correlation[:2] == pytest.approx(r[u[:2], v[:2]], rel=1e-4)
    fires_a, fires_b = one[kept][:, u] > 0, b[:, v] > 0
    assert of.jaccard[:2] == pytest.approx(((fires_a & fires_b).sum(0) / (fires_a | fires_b).sum(0))[:2])
    assert np.isnan(of.correlation[2])


def test_unrelated_units_are_at_the_null(store: Store) -> None:
    found = functional_match(sampled(store, planted(store, 40, 0.1, 1)), sampled(store, planted(store, 50, 0.1, 2)))
    chance = found.chance_forward
    assert found.forward.correlation.mean() == pytest.approx(chance.mean(), abs=3 * chance.std() / 40**0.5 + 0.005)
    assert found.mcc == pytest.approx(found.mcc_chance, abs=0.01)
    assert chance.mean() < 0.15


def test_a_unit_that_does_not_vary_has_no_function(store: Store) -> None:
    codes = planted(store, 5, 0.3)
    codes[:, 2] = 3  # on every row the same
    found = functional_match(sampled(store, codes), sampled(store, codes))
    assert np.isnan(found.forward.correlation).tolist() == [False, False, True, False, False]
    assert found.mcc == pytest.approx(1, abs=1e-4)
    turned = found.turned()
    assert turned.turned().codes[0] is found.codes[0]
    assert turned.forward is found.backward


def test_the_null_of_a_copy_is_that_of_strangers(store: Store, twins: Twins) -> None:
    """Moving the rows takes away all that two units share but how often and in what runs they fire."""
    one, other, _ = twins
    copy = functional_match(sampled(store, one), sampled(store, other))
    strangers = functional_match(sampled(store, one), sampled(store, planted(store, 30, 0.15, 9)))
    assert np.nanmean(copy.chance_forward) == pytest.approx(np.nanmean(strangers.forward.correlation), abs=0.01)


def test_the_work_of_a_comparison_is_bounded(store: Store) -> None:
    one, other = (sampled(store, planted(store, 30, 0.2, seed)) for seed in range(2))
    whole, part = functional_match(one, other), functional_match(one, other, work=20_000)
    a, b = part.codes
    cost = int((np.diff(a.tocsr().indptr).astype(np.int64) * np.diff(b.tocsr().indptr)).sum())
    assert 15_000 < cost <= 20_000
    assert part.rows < whole.rows
    stranger = CodeSample(30, seed=1, work=9000)
    gathered([stranger], subject_of(store, 30), planted(store, 30))
    with pytest.raises(Mismatch, match="same text with the same seed"):
        functional_match(one, stranger)


# Seeds


def test_what_seeds_share_is_listed_by_pair_and_by_unit(store: Store, twins: Twins) -> None:
    one, other, order = twins
    rows = directions(30, 64)
    half = rows[order].clone()
    lost = order >= 20  # units of b that write and do something of their own
    half[lost] = directions(int(lost.sum()), 64, 3)
    other = np.where(lost, planted(store, 30, 0.15, 7), other)
    third = sampled(store, planted(store, 40, seed=8))
    sides = [
        Side(member="a", configuration="c", units=units(rows), sample=sampled(store, one)),
        Side(member="b", configuration="c", units=units(half), sample=sampled(store, other)),
        Side(member="z", configuration="c", units=units(directions(40, 64, 8)), sample=third),
        Side(member="alone", configuration="d", units=units(rows), sample=None),
    ]
    found = stability(sides)
    pairs = {(row["member"], row["other"]): row for row in found.pairs.to_pylist()}
    assert list(pairs) == [("a", "b"), ("a", "z"), ("b", "z")]
    alike, apart = pairs["a", "b"], pairs["a", "z"]
    assert alike["shared_share"] == pytest.approx(20 / 30)
    assert alike["functional_shared"] == pytest.approx(20 / 29)
    assert alike["functional_units"] == 29
    assert (apart["shared_share"], apart["functional_shared"]) == (0, 0)
    assert apart["mmcs_forward"] == pytest.approx(apart["chance_forward"], abs=0.03)
    assert apart["functional_mcc"] == pytest.approx(apart["functional_mcc_chance"], abs=0.02)
    assert alike["shared_chance"] < 1e-6

    by_unit = [row for row in found.found.to_pylist() if row["member"] == "a"]
    assert [row["seeds"] for row in by_unit] == [2] * 30
    assert [row["by_direction"] for row in by_unit] == [1] * 20 + [0] * 10
    assert [row["by_function"] for row in by_unit] == [1] * 20 + [0] * 9 + [None]
    assert by_unit[29]["seeds_by_function"] == 0
    assert {row["member"] for row in found.found.to_pylist()} == {"a", "b", "z"}

    mine = [row for row in found.matches.to_pylist() if row["member"] == "a" and row["other"] == "b"]
    for row in mine:
        if row["feature"] < 20:
            assert order[row["other_feature"]] == row["feature"]
            assert row["cosine"] == pytest.approx(1)
            assert row["correlation"] > 0.98
            assert row["jaccard"] == 1
    assert sum(row["by"] == "direction" for row in mine) == 30
    assert sum(row["by"] == "function" for row in mine) == 29


def test_members_without_codes_are_compared_by_direction_alone() -> None:
    sides = [Side(member=m, configuration="c", units=units(directions(12, 8)), sample=None) for m in "ab"]
    found = stability(sides)
    (row,) = found.pairs.to_pylist()
    assert row["mcc"] == pytest.approx(1)
    assert row["functional_mcc"] is None
    assert {each["by"] for each in found.matches.to_pylist()} == {"direction"}
    assert found.matches["correlation"].null_count == len(found.matches)
    assert found.found["by_function"].null_count == 24
    assert stability([]).pairs.num_rows == 0
    assert compared(*sides).functional is None
