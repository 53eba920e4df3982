import pytest
import torch

import sae


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


@pytest.mark.parametrize("rows", [[], [torch.ones(1, 2)], [torch.ones(3, 2)]])
def test_rows_without_variance_are_refused(rows):
    with pytest.raises(ValueError, match="at least two different rows"):
        sae.evaluate([dictionary_of(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2))], rows)
