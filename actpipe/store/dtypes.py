"""The data types of a store, as torch tensors and as raw numpy words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Misuse

TORCH = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32, "int8": torch.int8}
UNSPLIT_VALUES = 2**15  # torch's at::internal::GRAIN_SIZE
_WORDS = {
    torch.float16: torch.uint16,
    torch.bfloat16: torch.uint16,
    torch.float32: torch.uint32,
    torch.int8: torch.uint8,
}


def dtype_name(dtype: str | torch.dtype) -> str:
    """`torch.bfloat16` or `"bfloat16"` → `"bfloat16"`."""
    name = str(dtype).removeprefix("torch.")
    if name not in TORCH:
        raise Misuse(f"The data type {name!r} cannot be stored; choose one of {', '.join(TORCH)}.")
    return name


def words(tensor: torch.Tensor) -> NDArray[Any]:
    """The memory of a contiguous CPU tensor as unsigned integers (numpy has no bfloat16 of its own)."""
    array: NDArray[Any] = tensor.detach().view(_WORDS[tensor.dtype]).numpy()
    return array


def value_dtype(dtype: str) -> torch.dtype:
    """In which rows stored as `dtype` are handed to and returned by a store; int8 means nothing without its scales."""
    return torch.float32 if dtype == "int8" else TORCH[dtype]


def convert(rows: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """`out[:] = rows` in pieces that torch does not split among threads.

    On a busy machine the threads of such a small copy wait for each other: measured up to 20 times slower.
    """
    step = max(UNSPLIT_VALUES // max(rows.shape[1], 1), 1)
    for start in range(0, len(rows), step):
        out[start : start + step].copy_(rows[start : start + step])
    return out


def largest(dtype: str) -> float:
    return float(np.float64(torch.finfo(value_dtype(dtype)).max))
