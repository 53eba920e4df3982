"""Exact and statistical top-k of activations, and the schedule of k."""

import pytest
import torch

from actpipe.antehoc.topk import exact_topk, k_at, shrunken_topk, statistical_threshold, statistical_topk
from actpipe.errors import Misuse


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_exact_topk_by_hand():
    a = torch.tensor([[3.0, -1.0, 2.0, 0.5], [-4.0, -2.0, -3.0, -1.0]])
    assert exact_topk(a, 2).tolist() == [[3.0, 0.0, 2.0, 0.0], [0.0, -2.0, 0.0, -1.0]]


@pytest.mark.parametrize("shape", [(7, 64), (2, 3, 64)])
def test_exact_topk_keeps_k_of_each_row_even_of_equals(shape):
    for a in (normal(*shape), torch.ones(shape)):
        kept = exact_topk(a, 5)
        assert bool(((kept != 0).sum(-1) == 5).all())
        assert torch.equal(kept[kept != 0], a[kept != 0])


@pytest.mark.parametrize("select", [exact_topk, statistical_topk, shrunken_topk])
def test_all_of_a_row_is_the_row(select):
    a = normal(3, 8)
    assert torch.equal(select(a, 8), a)
    with pytest.raises(Misuse, match="at least 1, not 0"):
        select(a, 0)


def test_statistical_topk_keeps_about_k_of_gaussian_input():
    # 2048 rows of 3072; the count of a row has a spread of about 10, its mean over rows one of about 0.2.
    a = 3 * normal(2048, 3072) - 1
    kept = statistical_topk(a, 128)
    counts = (kept != 0).sum(-1).float()
    assert counts.mean().item() == pytest.approx(128, abs=1)
    assert torch.equal(kept[kept != 0], a[kept != 0])
    shrunken = shrunken_topk(a, 128)
    assert torch.equal(shrunken != 0, kept != 0)
    torch.testing.assert_close(torch.where(kept != 0, kept - statistical_threshold(a, 128), 0.0), shrunken)


def test_statistical_threshold_by_hand():
    # mean 2, spread √2; Φ⁻¹(0.8) = 0.8416: θ = 2 + 1.1902
    theta = statistical_threshold(torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]]), 1)
    assert theta.item() == pytest.approx(3.1902, abs=1e-4)


def test_gradients_go_through_what_is_kept():
    a = normal(4, 9).double().requires_grad_()
    outer = normal(4, 9, seed=1).double()
    for select in (exact_topk, statistical_topk):
        kept = select(a, 3)
        (gradient,) = torch.autograd.grad((kept * outer).sum(), a)
        assert torch.equal(gradient, torch.where(kept != 0, outer, 0.0))
    for select in (exact_topk, shrunken_topk):
        assert torch.autograd.gradcheck(lambda a, select=select: select(a, 3), a)


def test_k_falls_from_all_to_its_target_over_the_warm_up():
    ks = [k_at(step / 100, n=64, k=4, warmup=0.5) for step in range(101)]
    assert ks[0] == 64
    assert ks[50:] == [4] * 51
    assert ks == sorted(ks, reverse=True)
    assert sorted(set(ks)) == [4, 14, 24, 34, 44, 54, 64]
    assert k_at(0.0, n=64, k=4, warmup=0.0) == 4
