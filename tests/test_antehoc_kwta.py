"""The gate of the self-ablating transformer: hard forward, soft backward."""

import math

import pytest
import torch

from actpipe.antehoc.kwta import k_winners, soft_winners
from actpipe.errors import Misuse


def scores(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [1, 4, 31, 32])
def test_the_mask_is_the_indicator_of_the_k_largest(k, dtype):
    s = scores(5, 3, 32, dtype=dtype)
    mask = k_winners(s, k)
    assert mask.dtype == dtype
    assert torch.equal(mask.sum(-1), torch.full((5, 3), float(k), dtype=dtype))
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    least_winner = s.masked_fill(mask == 0, math.inf).amin(-1)
    best_loser = s.masked_fill(mask == 1, -math.inf).amax(-1)
    assert bool((least_winner >= best_loser).all())


def written_out(row, k, tau):
    """w of one row, from systems' formula with plain sorting and sums."""
    ordered = sorted(row, key=lambda s: -s.item())
    theta = (ordered[k - 1] + ordered[k]) / 2
    temperature = tau * (ordered[k - 1] - ordered[k])
    w = torch.stack([1 / (1 + torch.exp(-(s - theta) / (temperature + 1e-12))) for s in row])
    return w * k / w.sum()


@pytest.mark.parametrize("k", [1, 3, 6])
def test_the_gradient_is_that_of_the_soft_weights(k):
    s, outer = scores(4, 7).requires_grad_(), scores(4, 7, seed=1)
    (got,) = torch.autograd.grad((k_winners(s, k) * outer).sum(), s)
    soft = torch.stack([written_out(row, k, 0.1) for row in s])
    (expected,) = torch.autograd.grad((soft * outer).sum(), s)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    assert got.abs().max() > 1e-5
    torch.testing.assert_close(soft_winners(s, k), soft)
    torch.testing.assert_close(soft.sum(-1), torch.full((4,), float(k), dtype=torch.float64))


def test_the_gradient_of_the_soft_weights_is_right():
    assert torch.autograd.gradcheck(lambda s: soft_winners(s, 3, 0.5), scores(4, 7).requires_grad_())


def test_weights_by_hand():
    # θ = 1.5, T = 0.1, so the places are at ±15, ±5: σ(5) = 0.9933, σ(−5) = 0.0067, which with τ = 0.1 is always so.
    w = soft_winners(torch.tensor([3.0, 1.0, 0.0, 2.0]), 2)
    torch.testing.assert_close(w, torch.tensor([1.00000, 0.00669, 0.00000, 0.99331]), rtol=0, atol=1e-5)


def test_equal_scores_have_k_winners_and_a_finite_gradient():
    s = torch.tensor([[1.0, 1.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0]], requires_grad=True)
    mask = k_winners(s, 2)
    (gradient,) = torch.autograd.grad((mask * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum(), s)
    assert mask.sum(-1).tolist() == [2.0, 2.0]
    assert gradient[0].tolist() == [0.0] * 4
    assert bool(gradient.isfinite().all())
    assert gradient[1].abs().max() > 0


def test_all_win_where_k_is_the_number_of_units():
    s = scores(2, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(k_winners(s, 5).sum() + s.sum(), s)
    assert torch.equal(gradient, torch.ones_like(gradient))


@pytest.mark.parametrize("k", [0, 6])
def test_k_beyond_the_units_is_refused(k):
    with pytest.raises(Misuse, match=f"from 1 to the 5 units that compete, not {k}"):
        k_winners(scores(2, 5), k)


@pytest.mark.parametrize("tau", [0.1, 0.7])
def test_the_closed_gradient_is_that_of_autograd_through_the_soft_weights(tau):
    s, outer = scores(6, 5, 40, seed=3).requires_grad_(), scores(6, 5, 40, seed=4)
    (got,) = torch.autograd.grad((k_winners(s, 9, tau) * outer).sum(), s)
    (expected,) = torch.autograd.grad((soft_winners(s, 9, tau) * outer).sum(), s)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    assert expected.abs().max() > 1e-3
