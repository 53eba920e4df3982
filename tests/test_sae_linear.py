"""The product of whichever library is faster is the product."""

from __future__ import annotations

import pytest
import torch

from sae import linear as module
from sae.linear import linear


@pytest.mark.parametrize("by_onednn", [False, True])
@pytest.mark.parametrize("shape", [(7, 5), (5,), (2, 3, 5), (0, 5)])
def test_it_is_the_product(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], by_onednn: bool) -> None:
    monkeypatch.setattr(module, "prefers_onednn", lambda: by_onednn)
    x, weight, bias = torch.randn(shape), torch.randn(4, 5), torch.randn(4)
    expected = (x.double() @ weight.double().mT + bias.double()).float()
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight, bias), expected)
        torch.testing.assert_close(linear(x, weight), (x.double() @ weight.double().mT).float())
        assert linear(x.bfloat16(), weight.bfloat16(), bias.bfloat16()).dtype == torch.bfloat16


def test_gradients_and_stacks_do_not_meet_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    x, weight, bias = torch.randn(3, 5), torch.randn(2, 4, 5), torch.randn(2, 4)
    stacked = torch.vmap(linear, in_dims=(None, 0, 0))(x, weight, bias)
    torch.testing.assert_close(stacked, x @ weight.mT + bias[:, None])
    with torch.inference_mode():
        torch.testing.assert_close(torch.vmap(linear, in_dims=(None, 0, 0))(x, weight, bias), stacked)
    grown = weight[0].clone().requires_grad_()
    linear(x, grown, bias[0]).sum().backward()
    assert grown.grad is not None
