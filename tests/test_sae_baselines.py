"""Baselines do what their names say, seen from numpy, scipy and brute force."""

import itertools
import sys

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.decomposition import FastICA

import sae
from sae.architecture import Size
from tests.contracts import check_architecture

D, ROWS = 6, 300


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rows():
    """Correlated, with another variance in every direction and a mean."""
    return draw(ROWS, D, seed=1) @ draw(D, D, seed=2) + 3


def mixture():
    """Of independent sources with heavy tails, which is what ICA can find."""
    uniform = torch.rand(4000, D, generator=torch.Generator().manual_seed(0)) - 0.5
    laplace = uniform.sign() * uniform.abs().mul(-2).log1p().neg()
    return laplace @ draw(D, D, seed=3) + 3


def fitted(name, x, n=D, k=0, seed=0, **fields):
    """A dictionary in the units of the rows themselves."""
    architecture = sae.get_architecture(name)(**fields)
    hyper = architecture.hyper({"k": k} if "k" in architecture.swept else {})
    scaling = sae.Scaling.from_rows(x)
    generator = torch.Generator().manual_seed(seed)
    params = architecture.fit(Size.of(x.shape[1], n), hyper, generator, scaling.apply(x))
    return sae.Dictionary.trained(architecture, params, hyper=hyper, scaling=scaling, config={})


def fvu(dictionary, x):
    return sae.evaluate([dictionary], [x])[0].fvu


# --- PCA


def test_principal_components_are_numpys():
    x = rows()
    values, columns = np.linalg.eigh(np.cov(x.double().numpy().T))
    directions = fitted("pca", x).directions.numpy()
    for direction, expected in zip(directions, columns.T[::-1], strict=True):
        assert abs(direction @ expected) == pytest.approx(1, abs=1e-5)
        assert direction[np.abs(direction).argmax()] > 0
    codes = fitted("pca", x).encode(x)
    np.testing.assert_allclose(codes.var(0), values[::-1], rtol=1e-4)


def test_truncated_components_leave_the_variance_of_the_others():
    x = rows()
    values = np.linalg.eigvalsh(np.cov(x.double().numpy().T))
    for n in (1, 3, D):
        assert fvu(fitted("pca", x, n), x) == pytest.approx(values[: D - n].sum() / values.sum(), abs=1e-5)


@pytest.mark.parametrize("name", ["pca", "identity"])
def test_the_k_largest_of_an_orthogonal_basis_are_the_best_k(name):
    x = rows()
    dictionary = fitted(name, x, k=2)
    codes = dictionary.encode(x)
    assert ((codes != 0).sum(1) == 2).all()
    whole = fitted(name, x).encode(x)
    bias = dictionary.decode(torch.zeros(1, D))
    best = torch.full((ROWS,), torch.inf)
    for chosen in itertools.combinations(range(D), 2):
        some = torch.zeros_like(whole)
        some[:, chosen] = whole[:, chosen]
        best = best.minimum((x - some @ dictionary.directions - bias).square().sum(1))
    torch.testing.assert_close((x - dictionary.reconstruct(x)).square().sum(1), best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["pca", "ica", "identity"])
@pytest.mark.parametrize("k", [0, 2])
def test_components_split_into_signs_compute_the_same_in_codes_that_are_not_negative(name, k):
    x = mixture()
    signed, split = fitted(name, x, k=k), fitted(name, x, 2 * D, k=k, split=True)
    codes = split.encode(x)
    assert (codes >= 0).all()
    torch.testing.assert_close(codes[:, :D] - codes[:, D:], signed.encode(x), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(split.reconstruct(x), signed.reconstruct(x), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(split.directions[D:], -split.directions[:D])


def test_many_rows_are_summed_in_parts(monkeypatch):
    x = rows()
    at_once = fitted("pca", x).directions
    monkeypatch.setattr("sae.baselines.pca.ROWS_AT_ONCE", 7)
    torch.testing.assert_close(fitted("pca", x).directions, at_once)


# --- the neuron basis and random directions


def test_the_neuron_basis_is_exact_and_its_codes_are_distances_from_the_mean():
    x = rows()
    dictionary = fitted("identity", x)
    torch.testing.assert_close(dictionary.encode(x), x - x.mean(0), atol=1e-5, rtol=1e-5)
    assert torch.equal(dictionary.directions, torch.eye(D))
    assert fvu(dictionary, x) < 1e-10


def test_neurons_with_a_relu_lose_what_is_below_the_mean():
    x = rows()
    above = torch.relu(x - x.mean(0))
    torch.testing.assert_close(fitted("identity_relu", x).encode(x), above, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "n"), [("identity_relu", D), ("random", 40)])
def test_biases_let_each_feature_fire_on_its_share_of_the_rows(name, n):
    codes = fitted(name, rows(), n, share=0.1).encode(rows())
    assert ((codes > 0).sum(0) - ROWS / 10).abs().max() <= 1  # a row on the threshold may round to the other side


def test_random_directions_are_a_function_of_the_seed_alone():
    x = rows()
    one, again, other = (fitted("random", x, 40, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.directions, again.directions)
    assert not torch.equal(one.directions, other.directions)
    torch.testing.assert_close(one.encode(x), torch.relu((x - x.mean(0)) @ one.directions.T), atol=1e-4, rtol=1e-4)


# --- ICA


def test_independent_sources_are_found_in_their_mixture():
    x = mixture()
    found = fitted("ica", x)
    truth = torch.nn.functional.normalize(draw(D, D, seed=3), dim=1)
    cosines = (truth @ found.directions.T).abs()
    assert (cosines.amax(1) > 0.99).all()
    assert len(set(cosines.argmax(1).tolist())) == D
    assert fvu(found, x) < 1e-8
    spread = found.encode(x).var(0)
    assert (spread.diff() < 1e-3 * spread[0]).all(), "largest variance first"


def test_fewer_independent_components_answer_as_scikit_learns_do():
    x = mixture()
    standard = (x.double().numpy() - x.double().numpy().mean(0)) / x.double().numpy().std(0)
    seed = int(torch.randint(2**31 - 1, (), generator=torch.Generator().manual_seed(0)))
    solver = FastICA(n_components=3, whiten="unit-variance", random_state=seed)
    expected = solver.inverse_transform(solver.fit_transform(standard)) * x.double().numpy().std(0)
    found = fitted("ica", x, 3).reconstruct(x) - x.mean(0)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_coordinate_that_never_changes_does_not_break_the_components():
    x = mixture()
    x[:, 2] = 4.0
    found = fitted("ica", x, D - 1)
    assert torch.isfinite(found.directions).all()
    assert fvu(found, x) < 1e-6


def test_components_that_did_not_settle_are_warned_of():
    with pytest.warns(UserWarning, match="stopped after 1 iterations"):
        fitted("ica", mixture(), iterations=1)


# --- NMF


def test_non_negative_codes_are_scipys():
    x = rows()
    dictionary = fitted("nmf", x, 4)
    directions = dictionary.directions.double().numpy()
    floor = x.amin(0).double().numpy()
    expected = np.stack([nnls(directions.T, row - floor)[0] for row in x.double().numpy()])
    assert (directions >= 0).all()
    np.testing.assert_allclose(dictionary.encode(x), expected, atol=1e-2)
    assert 0 < np.count_nonzero(expected) < expected.size


def test_rows_made_of_non_negative_parts_are_explained_by_as_many():
    parts, amounts = draw(3, D, seed=4).abs(), torch.relu(draw(ROWS, 3, seed=5))
    amounts[0] = 0  # the floor is a row of its own
    assert fvu(fitted("nmf", amounts @ parts, 3, iterations=2000, tolerance=1e-8), amounts @ parts) < 1e-3


# --- k-means


def test_each_row_is_answered_by_its_nearest_centroid():
    centers = 10 * draw(4, D, seed=6)
    labels = torch.arange(ROWS) % 4
    x = centers[labels] + 0.1 * draw(ROWS, D, seed=7)
    dictionary = fitted("kmeans", x, 4, starts=5)
    codes = dictionary.encode(x)
    assert ((codes > 0).sum(1) == 1).all()
    means = torch.stack([x[labels == i].mean(0) for i in range(4)])
    torch.testing.assert_close(dictionary.reconstruct(x), means[labels], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(codes.amax(1), (means[labels] - x.mean(0)).norm(dim=1), atol=1e-3, rtol=1e-3)


# --- all of them


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *[(name, fields) for name in ("pca", "ica", "identity") for fields in ({"k": 2}, {"split": True, "k": 2})],
        ("identity_relu", {"share": 0.2}),
        ("random", {"share": 0.2, "k": 2}),
    ],
)
def test_variants_hold_the_contract(name, fields):
    check_architecture(sae.get_architecture(name)(**fields))


@pytest.mark.parametrize(
    ("name", "n", "fields", "k", "said"),
    [
        ("pca", D + 1, {}, 0, "at most 6 features, not 7"),
        ("ica", 5, {"split": True}, 0, "even number of features, not 5"),
        ("nmf", D + 1, {}, 0, "at most 6 features, not 7"),
        ("identity", D + 1, {}, 0, "has 6 features, not 7; set the width to 6"),
        ("identity", D, {"split": True}, 0, "has 12 features, not 6"),
        ("identity_relu", 5, {}, 0, "has 6 features, not 5"),
        ("pca", 4, {}, 5, "up to the 4 features there are"),
        ("random", 4, {}, 1.5, "whole number.*1.5"),
        ("kmeans", ROWS + 1, {}, 0, "at least 301 rows, not 300"),
    ],
)
def test_widths_that_cannot_be_are_refused(name, n, fields, k, said):
    with pytest.raises(ValueError, match=said):
        fitted(name, rows(), n, k=k, **fields)


@pytest.mark.parametrize("name", ["identity", "identity_relu", "random", "pca", "ica", "nmf", "kmeans"])
def test_rows_that_are_not_finite_are_refused(name):
    x = rows()
    x[3, 2] = torch.nan
    architecture = sae.get_architecture(name)()
    with pytest.raises(ValueError, match="NaN or infinity"):
        architecture.fit(Size.of(D, D), architecture.hyper({}), torch.Generator(), x)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        sae.get_architecture("random")(share=share)


@pytest.mark.parametrize(
    ("name", "module"), [("ica", "decomposition"), ("nmf", "decomposition"), ("kmeans", "cluster")]
)
def test_a_missing_scikit_learn_is_named(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, f"sklearn.{module}", None)
    with pytest.raises(ValueError, match="pip install scikit-learn"):
        fitted(name, rows(), 3)
