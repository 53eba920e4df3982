"""The products of a network in training, as a CPU computes them fastest; the network does not know.

    float32    x Wᵀ + b, forward and backward, by oneDNN where sae/linear.py prefers it: half of MKL's time
    bfloat16   causal attention as two products with a softmax between: 1.4 to 4 times as fast as torch's fused kernel,
               whose backward pass is slow

Both round as their number type does, in another order. `python -m tests.bench.antehoc` has the times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from sae.linear import by_onednn, prefers_onednn

LONGEST = 1024  # tokens; the weights of all pairs are kept for the backward pass, which longer texts have no room for


class CPUProducts(TorchFunctionMode):
    """While it is entered, these functions of torch are computed as this file does, where it knows how."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func is F.linear and _is_linear_known(*args, **named):
            return linear(*args, **named)
        if func is F.scaled_dot_product_attention and _is_attention_known(*args, **named):
            return causal_attention(*args, scale=named.get("scale"))
        return func(*args, **named)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """float32 input [..., d], weight [n, d], bias [n] → [..., n] by oneDNN, which has no gradient in torch."""
    found: Tensor = _Linear.apply(input, weight, bias)  # type: ignore[no-untyped-call]
    return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return by_onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = g.flatten(0, -2)
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            by_onednn(g, weight.mT) if wants_x else None,
            by_onednn(rows.mT, x.flatten(0, -2).mT) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


def causal_attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """[B, H, T, w] from as many; `scale` multiplies q·k, None stands for 1/√w."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    with torch.autocast("cpu", enabled=False):  # it would have the softmax write float32; it sums in float32 anyway
        scores = (q * scale) @ k.mT + _future(q.shape[-2], q.dtype)
        found: Tensor = torch.softmax(scores, dim=-1) @ v
    return found


@lru_cache(maxsize=4)
def _future(length: int, dtype: torch.dtype) -> Tensor:
    """[T, T]: −∞ where the key comes after the query."""
    return torch.full((length, length), -math.inf, dtype=dtype).triu(1)


def _is_linear_known(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    given = (input, weight) if bias is None else (input, weight, bias)
    plain = all(each.is_cpu and each.dtype == torch.float32 for each in given)
    return plain and input.ndim > 1 and input.numel() > 0 and not torch.is_autocast_enabled("cpu") and prefers_onednn()


def _is_attention_known(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> bool:
    plain = all(each.is_cpu and each.dtype == torch.bfloat16 for each in (query, key, value))
    causal = is_causal and attn_mask is None and dropout_p == 0 and not enable_gqa
    return plain and causal and query.shape[-2] == key.shape[-2] <= LONGEST
