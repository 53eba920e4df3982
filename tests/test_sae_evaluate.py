"""Scores of dictionaries: by hand where rows are few, and against numpy where they are many."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

import sae
from sae.evaluate import density_histogram, split_fvu
from sae.moments import MomentSums


def dictionary_of(W_enc, b_enc, W_dec, b_dec):
    named = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
    params = {name: torch.as_tensor(p, dtype=torch.float64) for name, p in named.items()}
    return sae.Dictionary.trained(
        sae.ReLU(),
        params,
        hyper={"l1": 1.0},
        scaling=sae.Scaling.identity(params["W_dec"].shape[1]),
        config={},
    )


def test_always_answering_the_mean_scores_exactly_one():
    x = torch.tensor([[1.0, 1000.0], [3.0, 1000.0], [5.0, 1004.0], [7.0, 1004.0]])
    mean = dictionary_of(torch.zeros(3, 2), torch.zeros(3), torch.ones(3, 2), x.mean(0))
    (result,) = sae.evaluate([mean], x.split(1))
    assert result.fvu == 1.0
    assert (result.rows, result.l0, result.dead) == (4, 0.0, 1.0)


def test_a_perfect_dictionary_scores_zero():
    both_signs = torch.cat([torch.eye(2), -torch.eye(2)])
    perfect = dictionary_of(both_signs, torch.zeros(4), both_signs, torch.zeros(2))
    (result,) = sae.evaluate([perfect], [torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([[-1.0, 0.0]])])
    assert result.fvu == 0.0
    assert result.cosine == pytest.approx(1.0)
    assert result.l0 == 5 / 3
    assert result.density.tolist() == [2 / 3, 1 / 3, 1 / 3, 1 / 3]
    assert result.dead == 0.0


def test_scores_are_those_of_the_formulas_by_hand():
    # Only the first coordinate is explained. x̂ = (2, 0), (4, 0); errors 9 and 1; the mean is (3, 2), spread 2 + 2.
    first = dictionary_of([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0], [[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0])
    (result,) = sae.evaluate([first], [torch.tensor([[2.0, 3.0], [4.0, 1.0]])])
    assert result.fvu == 10 / 4
    assert result.l0 == 1.0
    assert result.dead == 0.5
    assert result.cosine == pytest.approx((2 / 13**0.5 + 4 / 17**0.5) / 2)


def test_splitting_rows_into_batches_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 5, generator=generator) + 1e4  # a mean far from zero, where Σ‖x‖² − N‖x̄‖² would fail
    W = torch.randn(8, 5, generator=generator)
    one, two = (
        dictionary_of(W, torch.zeros(8), W, torch.full((5,), 1e4)),
        dictionary_of(W, torch.ones(8), W, torch.ones(5)),
    )
    whole, parts = sae.evaluate([one, two], [x]), sae.evaluate([one, two], x.split(77))
    for a, b in zip(whole, parts, strict=True):
        assert a.fvu == pytest.approx(b.fvu, rel=1e-9)
        assert (a.l0, a.dead, a.rows) == (b.l0, b.dead, b.rows)
    errors = (x.double() - one.decode(one.encode(x))).square().sum()
    assert whole[0].fvu == pytest.approx(float(errors / (x.double() - x.double().mean(0)).square().sum()), rel=1e-9)


@pytest.mark.parametrize("rows", [[], [torch.ones(0, 2)], [torch.ones(1, 2)], [torch.ones(3, 2)]])
def test_rows_without_variance_are_refused(rows):
    with pytest.raises(ValueError, match="at least two different rows"):
        sae.evaluate([dictionary_of(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2))], rows)


def test_rows_that_are_not_finite_are_refused():
    rows = torch.tensor([[1.0, 2.0], [torch.nan, 1.0]])
    with pytest.raises(ValueError, match="NaN or infinity cannot be evaluated on"):
        sae.evaluate([dictionary_of(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2))], [rows])


def test_a_member_that_diverged_spoils_no_other():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    good = dictionary_of(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2))
    bad = dictionary_of(torch.full((2, 2), torch.nan), torch.zeros(2), torch.eye(2), torch.zeros(2))
    alone, (beside, diverged) = sae.evaluate([good], [x])[0], sae.evaluate([good, bad], [x])
    assert (beside.fvu, beside.cosine) == (alone.fvu, alone.cosine)
    assert math.isnan(diverged.fvu)


@dataclass(frozen=True, kw_only=True)
class Linear(sae.Architecture):
    """Signed codes x Wᵀ and a skip connection: an answer of x that its codes do not know of."""

    reads: ClassVar = "pair"
    name: ClassVar = "linear with a skip"
    skip: float = 0.0

    def shapes(self, size):
        return {"W": (size.n, size.d), "D": (size.n, size.out)}

    def encode(self, params, x, hyper):
        return x @ params["W"].T

    def decode(self, params, codes, hyper):
        return codes @ params["D"] + 1.0

    def reconstruct(self, params, x, hyper):
        return self.decode(params, self.encode(params, x, hyper), hyper) + self.skip * x[..., : params["D"].shape[1]]

    def fold(self, params, scaling, target):
        return params

    def directions(self, params):
        return params["D"]


@dataclass(frozen=True, kw_only=True)
class Row(Linear):
    reads: ClassVar = "row"


@dataclass(frozen=True, kw_only=True)
class Blocks(Linear):
    reads: ClassVar = "blocks"
    blocks: tuple[int, ...] = (2, 3)


class Folded:
    """A dictionary of one of the architectures above, in model units from the beginning."""

    def __init__(self, architecture, W, D):
        self.architecture, self.params = architecture, {"W": W, "D": D}
        self.n, self.out = D.shape
        self.directions = D

    def encode(self, x):
        return self.architecture.encode(self.params, x, {})

    def decode(self, codes):
        return self.architecture.decode(self.params, codes, {})

    def reconstruct(self, x):
        return self.architecture.reconstruct(self.params, x, {})


def gaussians(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def expected(x, answer, codes):
    """The scores by their definitions, all rows at once."""
    x, answer, codes = x.numpy(), answer.numpy(), codes.numpy()
    mean = x.mean(0)
    inner, length, of_answer = (x * answer).sum(1), np.linalg.norm(x, axis=1), np.linalg.norm(answer, axis=1)
    return {
        "l0": (codes != 0).sum(1).mean(),
        "l1": np.abs(codes).sum(1).mean(),
        "fvu": ((x - answer) ** 2).sum() / ((x - mean) ** 2).sum(),
        "cosine": (inner / (length * of_answer)).mean(),
        "norm_ratio": (of_answer / length).mean(),
        "best_scale": ((x - mean) * (answer - mean)).sum() / ((answer - mean) ** 2).sum(),
        "relative_bias": (of_answer**2).sum() / inner.sum(),
    }


def test_every_score_is_that_of_its_definition_for_rows_pairs_and_blocks():
    x, y, W, D, E = gaussians((400, 5), (400, 4), (6, 5), (6, 4), (6, 5))
    x, y = x * 3 + 100, y - 7
    W[4] = 0
    row, pair, blocks = Folded(Row(skip=0.7), W, E), Folded(Linear(skip=0.3), W, D), Folded(Blocks(), W, E)
    batches = list(zip(x.split(33), y.split(33), strict=True))
    results = sae.evaluate([row, pair, blocks], batches)
    for result, one, truth in zip(results, (row, pair, blocks), (x, y, x), strict=True):
        wanted = expected(truth, one.reconstruct(x), one.encode(x))
        assert {name: getattr(result, name) for name in wanted} == pytest.approx(wanted, rel=1e-9)
        assert result.dead == pytest.approx(1 / 6)
        assert result.dense == pytest.approx(5 / 6)
    assert results[0].fvu_blocks == results[1].fvu_blocks == ()
    errors, spread = (x - blocks.reconstruct(x)).square().sum(0), (x - x.mean(0)).square().sum(0)
    by_hand = [errors[:2].sum() / spread[:2].sum(), errors[2:].sum() / spread[2:].sum()]
    assert results[2].fvu_blocks == pytest.approx([float(each) for each in by_hand], rel=1e-9)
    assert sae.evaluate([row, blocks], x.split(50))[0].fvu == pytest.approx(results[0].fvu, rel=1e-9)


def test_the_best_scale_is_the_best_and_undoes_shrinkage():
    (x,) = gaussians((300, 2))
    x += 5
    mean = x.mean(0)
    (shrunk,) = sae.evaluate([Folded(Shrunk(mean, share=0.25), torch.eye(2).double(), torch.eye(2).double())], [x])
    assert shrunk.best_scale == pytest.approx(4.0)
    assert shrunk.fvu == pytest.approx((3 / 4) ** 2)
    (same,) = sae.evaluate([Folded(Shrunk(mean, share=1.0), torch.eye(2).double(), torch.eye(2).double())], [x])
    assert (same.best_scale, same.relative_bias, same.norm_ratio) == pytest.approx((1.0, 1.0, 1.0))


class Shrunk(Row):
    """x̂ = x̄ + share · (x − x̄)"""

    def __init__(self, mean, *, share):
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "share", share)

    def reconstruct(self, params, x, hyper):
        return self.mean + self.share * (x - self.mean)


def test_a_transcoder_needs_pairs():
    x, W, D = gaussians((9, 5), (6, 5), (6, 4))
    with pytest.raises(ValueError, match=r"linear with a skip predicts .* pairs"):
        sae.evaluate([Folded(Linear(), W, D)], [x])


def test_what_some_features_explain_and_the_others():
    x, y, W, D = gaussians((200, 5), (200, 4), (6, 5), (6, 4))
    one = Folded(Linear(skip=0.5), W, D)
    chosen = torch.tensor([0, 3])
    (split,) = split_fvu([one], zip(x.split(30), y.split(30), strict=True), chosen=[chosen])
    codes, spread = one.encode(x), (y - y.mean(0)).square().sum()
    for score, left in ((split.chosen, [0, 3]), (split.rest, [1, 2, 4, 5])):
        answer = codes[:, left] @ D[left] + 1.0 + 0.5 * x[:, :4]
        assert score == pytest.approx(float((y - answer).square().sum() / spread), rel=1e-9)
    (both,) = split_fvu([one], [(x, y)], chosen=[torch.arange(6)])
    assert both.chosen == pytest.approx(sae.evaluate([one], [(x, y)])[0].fvu)


def test_moments_are_those_of_the_definition_and_parts_add_up():
    (codes,) = gaussians((1000, 4))
    codes = codes.relu() ** 2
    codes[:, 2] = 0
    codes[:, 3] *= -1
    parts = [MomentSums(4), MomentSums(4)]
    for i, part in enumerate(torch.split(codes.float(), 37)):
        parts[i % 2].add(part)
    parts[0].merge(parts[1])
    found, c = parts[0].result(), codes.float().double().numpy()
    assert found.rows == 1000
    assert found.times_active.tolist() == (c != 0).sum(0).tolist()  # rows, not batches
    variance = c.var(0)
    for name, wanted in {
        "mean": c.mean(0),
        "variance": variance,
        "l4": (c**4).mean(0),
    }.items():
        np.testing.assert_allclose(getattr(found, name).numpy(), wanted, rtol=1e-10, err_msg=name)
    alive = [0, 1, 3]
    np.testing.assert_allclose(found.skew[alive], ((c**3).mean(0) / variance.clip(1e-9) ** 1.5)[alive], rtol=1e-9)
    np.testing.assert_allclose(found.kurtosis[alive], ((c**4).mean(0) / variance.clip(1e-9) ** 2)[alive], rtol=1e-9)
    assert found.skew[3] < 0
    assert math.isnan(found.skew[2])
    assert math.isnan(found.kurtosis[2])


def test_evaluation_brings_moments_when_asked():
    x, W, D = gaussians((60, 5), (6, 5), (6, 5))
    one = Folded(Row(), W, D)
    assert sae.evaluate([one], [x])[0].moments is None
    (found,) = sae.evaluate([one], x.split(7), moments=True)
    torch.testing.assert_close(found.moments.mean, one.encode(x).mean(0))
    assert found.moments.times_active.tolist() == [60.0] * 6


def test_densities_are_counted_by_decades():
    density = torch.tensor([0.0, 0.0, 1.0, 0.5, 0.05, 0.02, 1e-9])
    found = density_histogram(density, per_decade=1, decades=3)
    assert found.edges.tolist() == [-3.0, -2.0, -1.0, 0.0]
    assert found.counts.tolist() == [1, 2, 2]
    assert found.dead == 2
