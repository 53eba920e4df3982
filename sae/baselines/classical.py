"""scikit-learn, imported when a baseline needs it; pure torch does the rest of `sae`."""

from __future__ import annotations

import importlib
from typing import Any

import torch


def scikit_learn(module: str) -> Any:
    """`sklearn.<module>`."""
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ModuleNotFoundError as missing:
        raise ValueError(
            "this baseline is fitted by scikit-learn, which is not installed; install it with: pip install scikit-learn"
        ) from missing


def seed_from(generator: torch.Generator) -> int:
    """A seed for libraries that know no torch.Generator."""
    return int(torch.randint(2**31 - 1, (), generator=generator))
