"""x Wᵀ + b for rows on a CPU, by whichever library multiplies float32 faster there.

torch hands these products to MKL, which on processors of AMD runs at half of what oneDNN reaches with the same
instructions (docs/measurements.md); oneDNN comes with torch too. Both round as float32 does, in another order of the
sum. The choice is a function of the machine, never of a measurement, so a run gives the same bits each time.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., d], weight [n, d], bias [n] → [..., n]."""
    if _plain(x, weight, *(() if bias is None else (bias,))) and prefers_onednn():
        return by_onednn(x, weight, bias)
    return x @ weight.mT if bias is None else x @ weight.mT + bias


def by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same, of float32 matrices with any strides on a CPU, without gradients; x [rows, …, d] has a row at least."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


def _plain(*tensors: Tensor) -> bool:
    """Whether these are float32 matrices on a CPU that nobody differentiates or stacks, which oneDNN knows neither."""
    return torch.is_inference_mode_enabled() and all(
        t.device.type == "cpu"
        and t.dtype == torch.float32
        and t.dim() <= 2
        and t.numel() > 0
        and t.is_contiguous()
        and not torch._C._functorch.is_batchedtensor(t)
        for t in tensors
    )


@cache
def prefers_onednn() -> bool:
    """Whether the processor is of AMD and oneDNN is there; False where it cannot be told."""
    processor = Path("/proc/cpuinfo")
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise") and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return known and processor.exists() and "AuthenticAMD" in processor.read_text()
