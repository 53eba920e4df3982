"""Directions against directions: by hand, against brute force, and against chance."""

import builtins
import itertools
import math

import numpy as np
import pytest
import torch

from sae import capacity, matching
from sae.start import random_directions


def directions(n, d, seed=0):
    return random_directions(n, d, torch.Generator().manual_seed(seed))


def test_each_way_is_the_mean_of_its_own_best_cosines():
    a = torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    b = torch.tensor([[0.0, 1.0], [5.0, 0.0], [-6.0, -8.0]])
    result = matching.compare(a, b)
    assert result.forward == pytest.approx((1 + 0.8) / 2)
    assert result.backward == pytest.approx((0.8 + 1 - 0.6) / 3)
    assert result.matched == pytest.approx((1 + 0.8) / 2)
    assert result.share_matched == 0.5
    signless = matching.compare(a, b, absolute=True)
    assert signless.forward == pytest.approx(1.0)
    assert signless.backward == pytest.approx((0.8 + 1 + 1) / 3)
    assert signless.share_matched == 1.0


def test_blocks_change_nothing_and_lengths_do_not_count():
    a, b = directions(37, 6), directions(23, 6, seed=1)
    whole = matching.max_cosines(a, b, at_once=100)
    assert torch.equal(whole, matching.max_cosines(a, b, at_once=5))
    torch.testing.assert_close(whole, (a.double() @ b.double().T).amax(1).float())
    torch.testing.assert_close(whole, matching.max_cosines(3 * a, 0.1 * b))
    values, which = matching.best_cosines(a, b, absolute=True, at_once=5)
    torch.testing.assert_close(values, (a * b[which]).sum(1).abs())


def test_the_matrix_has_each_pair_both_ways():
    sets = [directions(4, 5, seed) for seed in range(3)]
    matrix = matching.mmcs_matrix(sets)
    assert matrix.diagonal().tolist() == pytest.approx([1.0, 1.0, 1.0])
    for i, j in itertools.product(range(3), repeat=2):
        assert float(matrix[i, j]) == matching.mmcs(sets[i], sets[j])


@pytest.mark.parametrize("absolute", [False, True])
def test_the_assignment_is_the_best_of_all(absolute):
    a, b = directions(4, 3), directions(6, 3, seed=1)
    cosines = (a @ b.T).abs() if absolute else a @ b.T
    best = max(sum(cosines[i, j] for i, j in enumerate(each)) for each in itertools.permutations(range(6), 4))
    found = matching.match(a, b, absolute=absolute)
    assert float(found.cosines.sum()) == pytest.approx(float(best))
    assert found.pairs[:, 0].tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(found.cosines, cosines[found.pairs[:, 0], found.pairs[:, 1]])


def test_a_shuffled_copy_is_found_whole():
    a = directions(50, 8)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    found = matching.match(a, -a[order], absolute=True)
    assert torch.equal(order[found.pairs[:, 1]], torch.arange(50))
    assert found.mean == pytest.approx(1.0)
    assert matching.compare(a, a[order]).forward_above_chance == pytest.approx(1.0)


@pytest.mark.parametrize(("d", "n"), [(128, 512), (64, 256), (8, 2000), (300, 10)])
def test_chance_is_what_simulation_says(d, n):
    random = np.random.default_rng(0)
    cosines = np.empty((200, 20, n))
    for each in cosines:  # 20 directions against a fresh set
        a, b = random.normal(size=(20, d)), random.normal(size=(n, d))
        each[:] = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    assert matching.chance_mmcs(n, d) == pytest.approx(cosines.max(-1).mean(), abs=0.003)
    assert matching.chance_mmcs(n, d, absolute=True) == pytest.approx(np.abs(cosines).max(-1).mean(), abs=0.003)
    simulated = matching.chance_mmcs_simulated(4000, n, d, torch.Generator().manual_seed(0))
    assert matching.chance_mmcs(n, d) == pytest.approx(simulated, abs=0.01)
    assert matching.chance_mmcs_limit(n, d) == math.sqrt(2 * math.log(n) / d) > simulated


def test_chance_has_its_closed_forms():
    assert matching.chance_mmcs(1, 7) == pytest.approx(0.0, abs=1e-9)
    assert matching.chance_mmcs(1, 3, absolute=True) == pytest.approx(1 / 2)  # a cosine is uniform in three dimensions
    assert matching.chance_mmcs(4, 3) == pytest.approx(3 / 5)  # the largest of four uniform numbers in (−1, 1)
    assert matching.chance_mmcs(1, 2, absolute=True) == pytest.approx(2 / math.pi)


def test_random_directions_are_at_chance():
    a, b = directions(2000, 32), directions(300, 32, seed=1)
    result = matching.compare(a, b)
    assert result.forward_above_chance == pytest.approx(0, abs=0.01)
    assert result.backward_above_chance == pytest.approx(0, abs=0.02)
    assert result.chance_backward > result.chance_forward  # more directions to choose from


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), r"\[2, 3\] and \[2, 4\]"),
        (torch.ones(0, 3), torch.ones(2, 3), "at least one direction"),
        (torch.full((2, 3), torch.nan), torch.ones(2, 3), "members that diverged"),
        (torch.ones(1, 1).expand(20_001, 3), torch.ones(2, 3), "the limit is 20000"),
    ],
)
def test_what_cannot_be_matched_is_one_sentence(a, b, sentence):
    with pytest.raises(ValueError, match=sentence):
        matching.match(a, b)
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        matching.chance_mmcs(5, 1)


def test_a_missing_scipy_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="pip install scipy"):
        matching.match(torch.eye(2), torch.eye(2))


def test_capacity_by_hand_and_by_brute_force():
    # One alone, two that share a dimension, and one of length zero.
    shared = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])
    assert capacity.capacities(shared).tolist() == [1.0, 0.5, 0.5, 0.0]
    rows = torch.randn(30, 7, generator=torch.Generator().manual_seed(0)).double()
    products = (rows @ rows.T).square()
    torch.testing.assert_close(capacity.capacities(rows), products.diagonal() / products.sum(1))
    assert float(capacity.capacities(directions(500, 16)).sum()) <= 16


def test_spread_over_coordinates_by_hand():
    rows = torch.tensor([[0.0, -3.0, 0.0, 0.0], [1.0, -1.0, 1.0, 1.0], [3.0, 1.0, 0.0, 0.0]])
    assert capacity.neurons_per_feature(rows).tolist() == pytest.approx([1.0, 4.0, 1 / (9 / 16 + 1 / 16)])
    assert capacity.entropies(rows).tolist() == pytest.approx(
        [0.0, math.log(4), -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))], abs=1e-6
    )


@pytest.mark.parametrize("at_once", [1, 2**24])
def test_interference_is_that_of_the_definition(at_once, monkeypatch):
    monkeypatch.setattr(capacity, "PAIRS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    rows = directions(12, 4)
    codes = torch.randn(40, 12, generator=generator) * (torch.rand(40, 12, generator=generator) < 0.3)
    codes[:, 5] = 0
    codes[7] = 0
    found = capacity.expected_interference(3 * rows, [codes[:10], codes[:0], codes[10:]])
    squared = (rows @ rows.T).square()
    for i in range(12):
        ratios = [
            row[i].abs() / sum(squared[i, j] * row[j].abs() for j in range(12)) for row in codes if row[i] != 0
        ]  # fmt: skip
        if ratios:
            assert float(found[i]) == pytest.approx(float(torch.stack(ratios).mean()), rel=1e-5)
        else:
            assert math.isnan(found[i])
            assert i == 5
    assert capacity.expected_interference(torch.eye(3), [torch.ones(2, 3)]).tolist() == [1.0, 1.0, 1.0]
    nowhere = torch.eye(3) * torch.tensor([1.0, 0.0, 1.0])
    assert capacity.expected_interference(nowhere, [torch.ones(2, 3)]).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("absolute", [False, True])
def test_matching_has_a_chance_level_of_its_own(absolute):
    generator = torch.Generator().manual_seed(7)
    drawn = [torch.randn(2, 64, 16, generator=generator) for _ in range(20)]
    mean = sum(matching.match(a, b, absolute=absolute).mean for a, b in drawn) / len(drawn)
    assert matching.chance_matched(64, 64, 16, absolute=absolute, draws=5) == pytest.approx(mean, abs=0.01)
    assert mean < matching.chance_mmcs(64, 16, absolute=absolute) - 0.02
    same = matching.compare(drawn[0][0], drawn[0][0], absolute=absolute)
    assert same.matched_above_chance == pytest.approx(1.0)
    assert abs(matching.compare(*drawn[1], absolute=absolute).matched_above_chance) < 0.1
