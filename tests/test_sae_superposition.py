"""Ground truths are what their recipes say."""

import dataclasses

import pytest
import torch

import sae
from sae.ground_truth.forest import planted, spread_out, zipf
from sae.ground_truth.sparse_mix import random_covariance_factor
from sae.start import random_directions

TRUTHS = {
    "mixture": lambda seed: sae.Mixture.create(seed=seed, d=16, n_features=40, noise_scale=0.1),
    "sparse mix": lambda seed: sae.SparseMix.create(seed=seed, d=16, n_features=40, n_active=3.0, noise_scale=0.01),
    "forest": lambda seed: sae.Forest.create(seed=seed, d=16, n_features=40, n_roots=2, depth=2, branching=3),
}


def rng(seed=1):
    return torch.Generator().manual_seed(seed)


def frequency(codes):
    return (codes > 0).double().mean(0)


@pytest.mark.parametrize("name", TRUTHS)
def test_a_truth_is_decided_by_its_seed_and_rows_by_their_generator(name):
    truth, again, other = TRUTHS[name](0), TRUTHS[name](0), TRUTHS[name](1)
    rows, codes = truth.draw(50, rng())
    assert rows.shape == (50, 16)
    assert codes.shape == (50, 40)
    assert bool((codes >= 0).all())
    torch.testing.assert_close(truth.directions.norm(dim=1), torch.ones(40))
    assert torch.equal(again.rows(50, rng()), rows)
    assert torch.equal(again.codes(50, rng()), codes)
    assert not torch.equal(other.directions, truth.directions)
    assert not torch.equal(truth.rows(50, rng(2)), rows)


@pytest.mark.parametrize("name", TRUTHS)
def test_rows_are_codes_times_directions_and_noise(name):
    truth = TRUTHS[name](0)
    rows, codes = truth.draw(20_000, rng())
    noise = (rows - codes @ truth.directions).double()
    wanted = {
        "mixture": 0.01 * torch.eye(16),
        "sparse mix": None if name != "sparse mix" else truth.noise_factor @ truth.noise_factor.T,
        "forest": torch.zeros(16, 16),
    }[name].double()
    spread = float(wanted.diagonal().max())
    torch.testing.assert_close(noise.T @ noise / len(rows), wanted, rtol=0, atol=0.05 * spread + 1e-9)


def test_the_published_mixture():
    mixture = sae.Mixture.create(seed=0)
    assert mixture.directions.shape == (512, 256)
    codes = mixture.codes(40_000, rng())
    found = frequency(codes)
    assert float(found[:20].sum()) == pytest.approx(5 / 512 * (1 - 0.99**20) / 0.01, rel=0.03)
    assert float(found.sum()) == pytest.approx(0.97, rel=0.03)
    strengths = codes[codes > 0]
    assert float(strengths.mean()) == pytest.approx(1 / 2, abs=0.01)
    assert float(strengths.var()) == pytest.approx(1 / 12, abs=0.003)


def test_a_sparse_mix_has_as_many_features_as_asked_and_never_none():
    mix = sae.SparseMix.create(seed=0, d=16, n_features=60, n_active=6.0, decay=1.0)
    codes = mix.codes(20_000, rng())
    assert int((codes > 0).sum(1).min()) >= 1
    assert float((codes > 0).double().sum(1).mean()) == pytest.approx(6.0, rel=0.02)
    assert float(codes[codes > 0].mean()) == pytest.approx(1 / 4, abs=0.01)  # a product of two uniform numbers
    rare = dataclasses.replace(mix, n_active=1e-9).codes(4000, rng())
    assert (rare > 0).sum(1).tolist() == [1] * 4000  # each filled with one, whichever it is
    assert float(frequency(rare).max()) < 3 / 60
    assert float(rare.sum(1).mean()) == pytest.approx(1 / 2, abs=0.03)


def test_features_of_a_sparse_mix_decay():
    mix = sae.SparseMix.create(seed=0, d=8, n_features=40, n_active=2.0, decay=0.9, correlated=False)
    found = frequency(mix.codes(100_000, rng()))
    wanted = 2.0 * mix.relative / mix.relative.sum()
    # Rows without any are filled evenly: e^−2 of them or so.
    torch.testing.assert_close(found[:10].float() - found[-1].float(), wanted[:10], rtol=0.05, atol=0.004)


def test_features_of_a_sparse_mix_fire_together_as_their_gaussians_do():
    # z₁ = z₀ and z₃ = −z₂; the others are on their own.
    factor = 3 * torch.eye(40)
    factor[1] = factor[0]
    factor[3] = -factor[2]
    mix = sae.SparseMix.create(seed=0, d=8, n_features=40, n_active=8.0, decay=1.0)
    fires = (dataclasses.replace(mix, correlation=factor).codes(40_000, rng()) > 0).double()
    correlation = torch.corrcoef(fires.T)
    assert correlation[0, 1] > 0.1
    assert correlation[2, 3] < -0.05
    assert correlation[4:, 4:].fill_diagonal_(0).abs().max() < 0.04


def test_the_random_covariance_is_barely_positive():
    factor = random_covariance_factor(30, rng()).double()
    covariance = factor @ factor.T
    values = torch.linalg.eigvalsh(covariance)
    assert 0 < values[0] < 0.01
    off = covariance[~torch.eye(30, dtype=torch.bool)]
    assert -1e-6 < off.min() < off.max() < 1 + 1e-6
    assert float(off.mean()) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(factor, factor.tril())


def test_a_forest_is_numbered_generation_by_generation():
    first, second = planted(2, 3, 2)
    assert first.parents.tolist() == [0, 1]
    assert first.children.tolist() == [[2, 3, 4], [5, 6, 7]]
    assert second.parents.tolist() == [2, 3, 4, 5, 6, 7]
    assert second.children[-1].tolist() == [23, 24, 25]
    with pytest.raises(ValueError, match="forest of 26 features does not fit into 25"):
        sae.Forest.create(seed=0, d=4, n_features=25, n_roots=2, branching=3, depth=2)


def test_children_fire_under_their_parent_and_one_at_a_time():
    forest = sae.Forest.create(seed=0)
    fires = forest.codes(30_000, rng()) > 0
    assert len(forest.generations) == 2
    for parents, children in forest.generations:
        families = fires[:, children]
        assert int(families.sum(-1).max()) == 1
        assert not bool((families.any(-1) & ~fires[:, parents]).any())
        assert int(families.sum()) > 1000
    assert float(fires.double().sum(1).mean()) == pytest.approx(5.0, abs=0.3)


def test_features_of_a_forest_are_as_frequent_as_their_rank_says():
    forest = sae.Forest.create(seed=0)
    wanted = zipf(256, 0.5, 0.4, 5e-4).double()
    assert [float(wanted[0]), float(wanted[-1])] == pytest.approx([0.4, 5e-4])
    assert wanted[3] - wanted[-1] == pytest.approx(float(wanted[0] - wanted[-1]) * (1 / 2 - 1 / 16) / (1 - 1 / 16))
    generator = rng()
    found = torch.stack([frequency(forest.codes(5000, generator)) for _ in range(30)]).mean(0)
    torch.testing.assert_close(found[:8], wanted[:8], rtol=0.02, atol=0)  # roots
    torch.testing.assert_close(found[168:], wanted[168:], rtol=0.1, atol=2e-4)  # free ones
    # Four children that ask for as much as their parent has meet often, and lose: 3/4 of the wanted frequency is left.
    assert 0.6 < float((found[8:40] / wanted[8:40]).mean()) < 1


def test_strengths_of_a_forest_fall_from_five_to_four():
    forest = sae.Forest.create(seed=0)
    codes = forest.codes(40_000, rng())
    for i in (0, 5, 40, 200):
        active = codes[:, i][codes[:, i] > 0]
        spread = float(forest.spread[i])
        assert float(active.mean()) == pytest.approx(5 - i / 255, abs=4 * spread / len(active) ** 0.5 + 1e-4)
        assert float(active.std()) == pytest.approx(spread, rel=0.3)
    assert forest.strength[[0, -1]].tolist() == [5.0, 4.0]


def test_features_of_a_forest_fire_together_as_their_gaussians_do():
    forest = sae.Forest.create(seed=0)
    torch.testing.assert_close(forest.shared.square().sum(1) + forest.own.square(), torch.ones(256))
    shared = torch.zeros_like(forest.shared)
    shared[0, 0] = shared[1, 0] = shared[2, 1] = 0.7
    shared[3, 1] = -0.7
    related = dataclasses.replace(forest, shared=shared, own=(1 - shared.square().sum(1)).sqrt())
    fires = (related.codes(50_000, rng()) > 0).double()[:, :8]
    correlation = torch.corrcoef(fires.T)
    assert correlation[0, 1] > 0.2
    assert correlation[2, 3] < -0.1
    assert correlation[4:, 4:].fill_diagonal_(0).abs().max() < 0.03


def test_spreading_out_lowers_the_overlap():
    random = random_directions(256, 64, rng())
    spread = spread_out(random)

    def overlap(rows):
        return float((rows @ rows.T).fill_diagonal_(0).square().mean())

    assert overlap(random) == pytest.approx(1 / 64, rel=0.03)
    assert overlap(spread) == pytest.approx(1 / 64 - 1 / 256, rel=1e-3)  # the least that 256 can have in 64
    torch.testing.assert_close(spread.norm(dim=1), torch.ones(256))
